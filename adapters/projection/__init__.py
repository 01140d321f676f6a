"""Feeding external databases: readings by a fold, everything else by statements."""
