"""What is told of troubles: each thing once, nobody's flood, and not only the first of them."""

from __future__ import annotations

from structlog.testing import capture_logs

from adapters.sources.inlet.report import Report
from collector.telemetry import Telemetry


def told(*troubles: tuple[str, str]) -> list[tuple[str, str]]:
    """Which of these (who, message) are told."""
    report = Report("http", "http:main", Telemetry())
    with capture_logs() as logs:
        for who, message in troubles:
            report.refused("tls", who, message)
    return [(line["who"], line["message"]) for line in logs]


def test_who_mends_one_thing_is_told_the_next() -> None:
    first, second = ("box", "no TLS was spoken"), ("box", "give it ca.pem")
    assert told(first, first, second, first, second) == [first, second]


def test_the_same_with_other_numbers_is_the_same() -> None:
    assert told(("box", "again in 1 s"), ("box", "again in 2 s")) == [("box", "again in 1 s")]


def test_whoever_says_always_something_else_mutes_nobody() -> None:
    flood = [("bad", "x" * number) for number in range(100)]
    found = told(*flood, ("good", "a"))
    assert found[-1] == ("good", "a")
    assert len(found) == 5


def test_of_a_flood_from_everywhere_so_many_are_named() -> None:
    assert len(told(*((f"address-{number}", "x") for number in range(1000)))) == 20
