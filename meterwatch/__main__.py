"""``python -m meterwatch``."""

from meterwatch.cli import main

main()
