"""Putting a meter into service: is it read rightly, is it wired rightly, and who signs for it.

The pure parts (``plausible``, ``word_orders``, ``wiring``, ``sheet``) take values and give
verdicts; ``reading`` and ``scan`` talk to devices, and only ever ask.
"""
