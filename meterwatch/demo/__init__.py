"""The demo: the whole program on a simulated park, watched live, with an account at the end.

run.py      opens the park, runs the program beside it, plays the script, closes the account
course.py   what happens, line by line, read from the program's files
view.py     the live page at a terminal, plain lines elsewhere
tally.py    readings: what was sent against what is stored and refused
summary.py  the last page
words.py    every text in English and Chinese
folder.py   whose folder it is
"""

from meterwatch.demo.run import run_demo, run_simulate

__all__ = ["run_demo", "run_simulate"]
