"""What all polled protocols have in common: whose turn it is on a bus, what a silent device costs
the others, how polls become deliveries. A protocol adds a ``Speaker`` and its kind of ``Polled``.
"""

from adapters.sources.polling.bus import Answer, Speaker
from adapters.sources.polling.failure import Failure, What
from adapters.sources.polling.polled import Polled
from adapters.sources.polling.source import Poller, gather

__all__ = [
    "Answer",
    "Failure",
    "Polled",
    "Poller",
    "Speaker",
    "What",
    "gather",
]
