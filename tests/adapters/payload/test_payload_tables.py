"""The compact form brings exactly the readings of the long one; what is wrong spoils as little."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import Quality, Reason
from tests.adapters.payload.any_messages import plain
from tests.adapters.payload.decoded import accounted, decode, refused, rows
from tests.adapters.payload.pushed import PUSHED, T0, Fleet, message, row, topic


def table(*cells: list[Any], **more: Any) -> dict[str, Any]:
    return {"columns": ["device", "time", *PUSHED], "rows": list(cells)} | more


def told(*tables: Any, **more: Any) -> bytes:
    return json.dumps({"tables": list(tables)} | more).encode()


class TestForms:
    FULL: ClassVar = table(
        ["main-meter", T0, 12345.67, 81.5, 230.1], ["behind", T0 + 1, 1, 2, None]
    )

    def test_device_and_time_in_columns(self) -> None:
        decoded = decode(told(self.FULL, id="t-1"))
        assert rows(decoded)[:3] == rows(decode(message(row())))
        assert [q for *_, q in rows(decoded)[3:]] == [0, 0, Quality.NO_VALUE]
        assert (decoded.receipts[0].id, decoded.receipts[0].stored) == ("t-1", 6)

    def test_what_is_the_same_stands_beside(self) -> None:
        columns = ["device", *PUSHED]
        one = {"time": T0, "columns": columns, "rows": [["main-meter", 12345.67, 81.5, 230.1]]}
        other = {
            "device": "main-meter",
            "serial": "21030001",
            "units": {"power.active": "W"},
            "columns": ["time", "power.active"],
            "rows": [[T0, 81_500], ["2026-11-22T08:00:00", 81_500]],
        }
        assert rows(decode(told(one))) == rows(decode(message(row())))
        assert rows(decode(told(other))) == [("main/power.active", T0, 81.5, 0)] * 2

    def test_a_row_may_end_early(self) -> None:
        assert rows(decode(told(table(["main-meter", T0, 5])))) == [
            ("main/energy.active.import", T0, 5.0, 0)
        ]

    def test_beside_the_long_form(self) -> None:
        decoded = decode(message(row(), row("nobody"), tables=[table(["nobody", T0, 1], [1])]))
        assert [(part.reason, part.rows) for part in decoded.receipts[0].refused] == [
            (Reason.PAYLOAD, (3,)),
            (Reason.UNKNOWN_DEVICE, (1, 2)),
        ]
        assert decoded.receipts[0].stored == 3


class TestRefusals:
    GOOD: ClassVar = table(["main-meter", T0, 1, 2, 3])

    @pytest.mark.parametrize(
        ("bad", "reason", "count", "says"),
        [
            (7, Reason.PAYLOAD, 1, "no list"),
            ({"rows": [[1]]}, Reason.PAYLOAD, 1, "columns"),
            (table(["main-meter", T0, 1], time=T0), Reason.PAYLOAD, 1, "given twice"),
            ({"columns": ["time"], "rows": [[T0], [T0]]}, Reason.PAYLOAD, 2, "neither"),
            ({"columns": ["device"], "rows": [["x"]]}, Reason.PAYLOAD, 1, '"time"'),
            ({"columns": ["a", "b", "a"], "rows": [[1]], "device": "d", "time": 1},
             Reason.PAYLOAD, 1, "column a"),
            (table(["main-meter", T0, 1, 2, 3, 4]), Reason.PAYLOAD, 1, "more cells"),
            (table(["main-meter"]), Reason.PAYLOAD, 1, "ends before"),
            (table(7), Reason.PAYLOAD, 1, "a row is a list, not 7"),  # type: ignore[arg-type]
            (table([7, T0, 1]), Reason.PAYLOAD, 1, "a text"),
            (table(["main-meter", T0 + 0.5, 1]), Reason.PAYLOAD, 1, "whole milliseconds"),
            (table(["main-meter", None, 1]), Reason.PAYLOAD, 1, "whole milliseconds"),
            (table(["main-meter", T0, "1"]), Reason.BAD_VALUE, 1, "number"),
            (table(["main-meter", T0, []]), Reason.BAD_VALUE, 1, "a list"),
            (table(["nobody", T0, 1, 2]), Reason.UNKNOWN_DEVICE, 2, "nobody"),
            (table(["main-meter", "x", 1, 2]), Reason.BAD_TIME, 2, "ISO"),
        ],
    )  # fmt: skip
    def test_one_bad_part(self, bad: Any, reason: str, count: int, says: str) -> None:
        decoded = decode(told(self.GOOD, bad, self.GOOD))
        assert refused(decoded) == [(reason, count)]
        assert says in decoded.refusals[0].detail
        assert decoded.receipts[0].stored == 6

    @pytest.mark.parametrize("raw", [b'{"tables":7}', b'{"tables":[]}', b'{"tables":{}}'])
    def test_no_tables(self, raw: bytes) -> None:
        assert [one.reason for one in decode(raw).refusals] == [Reason.PAYLOAD]

    def test_a_list_of_one_kind_that_is_none_spoils_not_the_other(self) -> None:
        decoded = decode(message(row(), tables=7))
        assert decoded.receipts[0].stored == 3
        assert refused(decoded) == [(Reason.PAYLOAD, 1)]


_cells = st.none() | st.booleans() | st.floats(-1e6, 1e6) | st.integers(-5, 5) | st.just("x")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["main-meter", "behind", "nobody", "old"]),
            st.integers(T0 - 5, T0 + 5),
            st.lists(_cells, min_size=3, max_size=3),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_it_says_what_the_long_form_says(
    given_rows: list[tuple[str, int, list[Any]]], one_time: bool
) -> None:
    if one_time:
        given_rows = [(device, T0, cells) for device, _, cells in given_rows]
        compact: dict[str, Any] = {
            "time": T0,
            "columns": ["device", *PUSHED],
            "rows": [[device, *cells] for device, _, cells in given_rows],
        }
    else:
        compact = table(*([device, time, *cells] for device, time, cells in given_rows))
    long = [
        {"device": device, "time": time, "values": dict(zip(PUSHED, cells, strict=True))}
        for device, time, cells in given_rows
    ]
    fleet = Fleet()
    one, other = (
        fleet.decoder.decode_many([(topic(), raw, T0)]) for raw in (told(compact), message(*long))
    )
    for name in ("point", "time", "value", "quality"):
        np.testing.assert_array_equal(getattr(one.batch, name), getattr(other.batch, name))
    assert one.receipts == other.receipts


_json_cells = _cells | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(), st.none())


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "columns": st.lists(st.sampled_from(["device", "time", *PUSHED]), max_size=5),
                "rows": st.lists(
                    st.lists(_json_cells | st.just("main-meter") | st.just(T0), max_size=5)
                    | _json_cells,
                    max_size=3,
                ),
            },
            optional={"device": _json_cells, "time": _json_cells, "units": _json_cells},
        ),
        max_size=3,
    )
)
def test_any_tables_are_accounted_for(tables: list[Any]) -> None:
    accounted(plain({"tables": tables}))
