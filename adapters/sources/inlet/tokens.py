"""What was sent in the place of a token, where that shows what went wrong. Pure.

Whoever is told only that his token is not known has a good one made anew.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "this token is not known: check it, or have a new one made"
_QUOTES: Final = ('"', "'")
_VARIABLES: Final = ("$", "%", "{", "<")


def misspelt(token: str) -> str:
    """What to do about a token that nobody has. The token itself is not in the words."""
    if token.startswith(_QUOTES):
        return "send the token without quotes"
    if token.startswith(_VARIABLES):
        return (
            "a variable's name came, for the shell did not put the token in; within '' it does not"
        )
    return UNKNOWN
