"""Whatever a journal may be given, as strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from collector.model import Batch, Entry, Mark, Refusal, Revision, SourceState, Tick
from collector.records import encode

times = st.integers(0, 2**42)
texts = st.text(max_size=12)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows = draw(st.integers(1, 40))
    return Batch.of(
        draw(st.lists(st.integers(0, 2**31 - 1), min_size=rows, max_size=rows)),
        draw(st.lists(times, min_size=rows, max_size=rows)),
        draw(st.lists(st.floats(), min_size=rows, max_size=rows)),
        draw(st.lists(st.integers(0, 255), min_size=rows, max_size=rows)),
        origin=draw(st.integers(0, 9)),
        received=draw(times),
        backfill=draw(st.booleans()),
    )


entries = st.one_of(
    batches(),
    st.builds(Tick, times),
    st.builds(SourceState, times, st.integers(0, 9), st.booleans(), texts),
    st.builds(
        Refusal, times, st.integers(0, 9), texts, texts, st.integers(1, 9), texts, st.binary()
    ),
    st.builds(Mark, times, texts, texts, times, times, texts, texts),
    st.builds(
        Revision,
        times,
        st.sampled_from(["registry", "rules"]),
        texts,
        st.dictionaries(texts, texts),
    ),
)


def same(one: Entry, other: Entry) -> bool:
    """Equal to the bit: NaN payloads and signed zeros included."""
    return encode(one) == encode(other)
