"""Each mistake in wiring is named by its numbers, on simulated phasors; working installations are
not accused, however unlike their phases are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meterwatch.commissioning.connections import causes
from meterwatch.commissioning.findings import Check, Diagnosis, Installed, Kind, Level
from meterwatch.commissioning.wiring import diagnose
from meterwatch.commissioning.wiring_words import causes_told, told
from tests.meterwatch.three_phases import Load, Site, Wiring, shown

NOTHING_FEEDS_IN = Installed(feeds_in=False)
MOTOR = Site((Load(20, 30), Load(21, 32), Load(19.5, 29)))
OFFICE = Site((Load(20, 12), Load(8, 25), Load(14, -8)))


def found(site: Site, installed: Installed = NOTHING_FEEDS_IN) -> Diagnosis:
    return diagnose([shown(site)] * 3, installed)


def kinds(diagnosis: Diagnosis, level: Level = Level.DOUBT) -> dict[Kind, tuple[int, ...]]:
    return {one.kind: one.phases for one in diagnosis.findings if one.level >= level}


def wired(site: Site, **more: object) -> Site:
    return replace(site, wiring=Wiring(**more))  # type: ignore[arg-type]


@pytest.mark.parametrize("site", [MOTOR, OFFICE])
@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize("reactive", [True, False])
def test_a_reversed_transformer_is_named(site: Site, phase: int, reactive: bool) -> None:
    one = found(wired(replace(site, reactive=reactive), reversed=(phase,)))
    (finding,) = [f for f in one.findings if f.level is Level.FAULT]
    assert (finding.kind, finding.phases) == (Kind.CONNECTED_WRONGLY, (phase + 1,))
    likeliest = finding.causes[0]
    assert (likeliest.reversed, likeliest.crossed) == ((phase + 1,), ())
    if reactive:
        assert len(finding.causes) == 1, "and nothing else is as likely"
    assert f"L{phase + 1} is reversed" in told(finding, "en").what
    assert f"{'ABC'[phase]}相电流互感器极性接反" in told(finding, "zh").what
    assert " kW" in told(finding, "en").seen


def test_two_and_three_reversed_transformers_are_named() -> None:
    for phases in [(0, 1), (0, 2), (1, 2), (0, 1, 2)]:
        one = found(wired(MOTOR, reversed=phases))
        (finding,) = [f for f in one.findings if f.level is Level.FAULT]
        named = {(c.reversed, c.crossed) for c in finding.causes}
        assert (tuple(p + 1 for p in phases), ()) in named


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("leads", ["currents", "voltages"])
@pytest.mark.parametrize("lag", [0, 20, 35])
def test_two_crossed_phases_are_named(pair: tuple[int, int], leads: str, lag: float) -> None:
    order = [0, 1, 2]
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    site = Site((Load(20, lag + 2), Load(22, lag), Load(18, lag - 3)))
    one = found(wired(site, **{leads: order}))
    (finding,) = [f for f in one.findings if f.level is Level.FAULT]
    assert finding.kind is Kind.CONNECTED_WRONGLY
    crossed = {(c.crossed, c.voltages) for c in finding.causes}
    assert (tuple(p + 1 for p in pair), leads == "voltages") in crossed
    assert f"the {leads[:-1]} leads of" in told(finding, "en").what


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1)])
def test_currents_shifted_by_one_phase_are_named(order: Sequence[int]) -> None:
    one = found(wired(Site((Load(20, 20),) * 3), currents=order))
    (finding,) = [f for f in one.findings if f.level is Level.FAULT]
    assert any(len(cause.crossed) == 3 for cause in finding.causes)
    assert "shifted" in told(finding, "en").what


def test_a_crossing_that_leaves_all_power_forwards_is_asked_about() -> None:
    one = found(wired(Site((Load(20, 55),) * 3), currents=(2, 0, 1)))
    assert one.worst is Level.DOUBT
    assert kinds(one) == {Kind.ODD_ANGLES: (1, 2, 3)}
    assert "capacitors" in told(one.findings[0], "en").what


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_missing_phase_and_an_open_voltage_lead_are_told_apart(phase: int) -> None:
    leads: list[int | None] = [0, 1, 2]
    leads[phase] = None
    loads = list(MOTOR.loads)
    lead = found(wired(MOTOR, voltages=leads))
    loads[phase] = Load(0)
    dead = found(wired(replace(MOTOR, loads=tuple(loads)), voltages=leads))  # type: ignore[arg-type]
    assert kinds(lead, Level.FAULT) == {Kind.VOLTAGE_LEAD: (phase + 1,)}
    assert kinds(dead, Level.FAULT) == {Kind.PHASE_MISSING: (phase + 1,)}
    assert "voltage lead of L" in told(lead.findings[0], "en").what


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_missing_transformer_is_a_question(phase: int) -> None:
    currents: list[int | None] = [0, 1, 2]
    currents[phase] = None
    one = found(wired(MOTOR, currents=currents))
    assert kinds(one) == {Kind.NO_CURRENT: (phase + 1,)}
    assert one.worst is Level.DOUBT, "there may be nothing switched on"
    assert one.level(Check.CURRENT) is Level.DOUBT


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_neutral_and_a_phase_exchanged_are_named(phase: int) -> None:
    one = found(wired(MOTOR, neutral=phase))
    assert Kind.NEUTRAL_CROSSED in kinds(one, Level.FAULT)
    assert kinds(one)[Kind.NEUTRAL_CROSSED] == (phase + 1,)


def test_voltage_and_frequency_that_no_grid_has_are_named() -> None:
    assert Kind.VOLTAGE_ODD in kinds(found(replace(MOTOR, volts=(23.0, 23.1, 22.9))))
    assert Kind.NO_VOLTAGE in kinds(found(replace(MOTOR, volts=(0.0, 0.0, 0.0))))
    assert Kind.VOLTAGES_UNLIKE in kinds(found(replace(MOTOR, volts=(170.0, 228.0, 262.0))))
    assert Kind.FREQUENCY_IMPOSSIBLE in kinds(found(replace(MOTOR, hertz=60.0)))
    assert Kind.FREQUENCY_ODD in kinds(found(replace(MOTOR, hertz=51.4)))
    assert Kind.LINE_VOLTAGE in kinds(found(replace(MOTOR, volts=(398.0, 400.0, 401.0))))


@pytest.mark.parametrize("factor", [40.0, 1 / 40, 1000.0, 0.1])
def test_power_that_carries_another_ratio_than_the_currents_is_named(factor: float) -> None:
    values = shown(MOTOR)
    for name in values:
        if name.startswith("power.active"):
            values[name] *= factor
    one = diagnose([values], NOTHING_FEEDS_IN)
    (finding,) = [f for f in one.findings if f.level is Level.FAULT]
    assert finding.kind is Kind.POWER_SCALE
    assert finding.numbers["factor"] == pytest.approx(factor, rel=0.01)
    assert told(finding, "en").todo


def test_powers_of_other_phases_are_named() -> None:
    values = shown(OFFICE)
    values["power.active.l1"], values["power.active.l2"] = (
        values["power.active.l2"],
        values["power.active.l1"],
    )
    one = diagnose([values], NOTHING_FEEDS_IN)
    assert kinds(one, Level.FAULT) == {Kind.POWER_ELSEWHERE: (2, 1, 3)}


def test_a_ratio_applied_twice_is_seen_by_amperes_that_no_transformer_gives() -> None:
    site = Site((Load(120 * 40), Load(118 * 40), Load(121 * 40)))
    one = diagnose([shown(site)], Installed(current_ratio=40, feeds_in=False))
    assert kinds(one, Level.FAULT) == {Kind.RATIO_TWICE: ()}
    assert "120" in told(one.findings[0], "en").seen or "121" in told(one.findings[0], "en").seen
    high = replace(site, loads=MOTOR.loads, volts=(23_000.0, 23_100.0, 22_950.0))
    twice = diagnose([shown(high)], Installed(voltage_ratio=100, feeds_in=False))
    assert Kind.VOLTAGE_RATIO_TWICE in kinds(twice, Level.FAULT)


@pytest.mark.parametrize(("factor", "guess"), [(2.0, "2"), (40.0, "too often"), (1 / 40, "little")])
def test_a_wrong_ratio_is_seen_with_a_clamp_meter(factor: float, guess: str) -> None:
    site = Site((Load(80), Load(82), Load(79)))
    clamp = Installed(
        current_ratio=40, feeds_in=False, clamp=(80 / factor, 82 / factor, 79 / factor)
    )
    one = diagnose([shown(site)], clamp)
    assert set(kinds(one, Level.FAULT)) == {Kind.RATIO_WRONG}
    assert guess in told(one.findings[0], "en").todo
    right = diagnose([shown(site)], replace(clamp, clamp=(81.0, 80.0, 80.5)))
    assert not kinds(right)
    assert right.level(Check.RATIO) is None


def test_counters_go_forwards_and_as_fast_as_the_power() -> None:
    values = shown(MOTOR)

    def counted(factor: float) -> list[dict[str, float]]:
        step = values["power.active"] / 3600 * factor
        return [values | {"energy.active.import": 1000 + step * n} for n in range(60)]

    times = [float(n) for n in range(60)]
    assert not kinds(diagnose(counted(1), NOTHING_FEEDS_IN, times))
    assert Kind.COUNTER_RATE in kinds(diagnose(counted(40), NOTHING_FEEDS_IN, times))
    assert Kind.COUNTER_BACK in kinds(diagnose(counted(-1), NOTHING_FEEDS_IN, times), Level.FAULT)
    assert Kind.COUNTER_STILL in kinds(diagnose(counted(0), NOTHING_FEEDS_IN, times), Level.NOTE)


def test_no_load_is_said_and_nothing_more() -> None:
    one = found(Site((Load(0.02, 160), Load(0.03), Load(0.01))))
    assert not kinds(one)
    assert one.level(Check.DIRECTION) is Level.NOTE
    assert one.level(Check.CURRENT) is Level.NOTE
    assert Kind.NO_LOAD in kinds(one, Level.NOTE)


def test_feeding_in_is_no_fault_unless_it_was_said_that_nothing_does() -> None:
    sun = Site((Load(10, 180), Load(4, 20), Load(5, 15)))
    assert found(sun, Installed(feeds_in=True)).worst is Level.NOTE
    assert found(sun, Installed(feeds_in=None)).worst is Level.DOUBT
    assert found(sun, Installed(feeds_in=False)).worst is Level.FAULT


def test_a_direction_that_changes_is_not_judged() -> None:
    out, back = (Site((Load(10, lag), Load(5, 10), Load(6, 10))) for lag in (175, 5))
    one = diagnose([shown(s) for s in (out, back, out, back)], NOTHING_FEEDS_IN)
    assert not kinds(one)
    assert kinds(one, Level.NOTE)[Kind.CHANGING] == (1,)


def test_meters_on_one_phase_or_without_neutral_are_judged_as_what_they_are() -> None:
    alone = Site((Load(10), Load(0), Load(0)), volts=(231.0, 0.0, 0.0))
    assert set(kinds(found(alone))) == {Kind.SINGLE_PHASE}
    assert not kinds(found(alone, Installed(single_phase=True, feeds_in=False)))
    aron = replace(wired(MOTOR, reversed=(0,)), volts=(100.0, 0.5, 100.0))
    assert Kind.CONNECTED_WRONGLY not in kinds(found(aron, Installed(three_wire=True)))


amps = st.floats(0.2, 100)
lags = st.floats(-40, 65)
volts = st.floats(205, 250)
loads = st.builds(Load, amps, lags)
sites = st.builds(
    Site,
    st.tuples(loads, loads, loads),
    st.tuples(volts, volts, volts),
    st.floats(49.6, 50.4),
    reactive=st.booleans(),
    factors=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(sites, st.sampled_from([None, False, True]))
def test_unbalance_alone_is_never_accused(site: Site, feeds_in: bool | None) -> None:
    one = diagnose([shown(site)], Installed(feeds_in=feeds_in))
    assert one.worst is not Level.FAULT
    lag = [load.lag for load in site.loads]
    if max(lag) - min(lag) <= 80:
        assert set(kinds(one)) <= {Kind.NO_CURRENT}


@settings(max_examples=300, deadline=None)
@given(st.floats(-90, 0), amps, st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 3)))
def test_capacitors_are_never_accused(lag: float, most: float, more: tuple[float, ...]) -> None:
    site = Site(tuple(Load(most, min(0.0, lag + one)) for one in more))  # type: ignore[arg-type]
    assert found(site).worst is not Level.FAULT


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(st.floats(0, 1.5), st.floats(0, 1.5), st.floats(0, 1.5)),
    st.tuples(lags, lags, lags),
)
def test_little_load_is_never_accused(currents: tuple[float, ...], lag: tuple[float, ...]) -> None:
    site = Site(tuple(Load(a, b) for a, b in zip(currents, lag, strict=True)))  # type: ignore[arg-type]
    assert found(site).worst is not Level.FAULT


sun = st.floats(0, 60)


@settings(max_examples=400, deadline=None)
@given(
    st.tuples(sun, sun, sun),
    st.floats(-18, 18),
    st.tuples(loads, loads, loads),
    st.sampled_from([True, None]),
)
def test_photovoltaics_are_never_accused(
    power: tuple[float, ...], angle: float, use: tuple[Load, ...], feeds_in: bool | None
) -> None:
    """Currents of loads and of an inverter that also gives or takes reactive power, added."""
    import cmath
    import math

    net = []
    for load, feed in zip(use, power, strict=True):
        current = cmath.rect(load.amps, math.radians(-load.lag))
        current += cmath.rect(feed, math.radians(180 - angle))
        net.append(Load(abs(current), -math.degrees(cmath.phase(current))))
    site = Site((net[0], net[1], net[2]))
    one = diagnose([shown(site)], Installed(feeds_in=feeds_in))
    assert one.worst is not Level.FAULT
    if feeds_in:
        assert Kind.CONNECTED_WRONGLY not in kinds(one)


@settings(max_examples=400, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.sets(st.sampled_from([0, 1, 2])),
    st.floats(5, 50),
    st.tuples(st.floats(-8, 8), st.floats(-8, 8), st.floats(-8, 8)),
    st.tuples(st.floats(1, 60), st.floats(1, 60), st.floats(1, 60)),
)
def test_whatever_is_exchanged_is_among_what_is_named(
    order: list[int],
    turned: set[int],
    lag: float,
    unlike: tuple[float, ...],
    currents: tuple[float, ...],
) -> None:
    """Of all 48 ways to connect three transformers: where power flows backwards the true one is
    named, alone or among its equals."""
    site = Site(tuple(Load(a, lag + d) for a, d in zip(currents, unlike, strict=True)))  # type: ignore[arg-type]
    wiring = Wiring(currents=order, reversed=tuple(turned))
    one = found(replace(site, wiring=wiring))
    backwards = [f for f in one.findings if f.kind is Kind.CONNECTED_WRONGLY]
    assume(backwards)
    (finding,) = backwards
    truth = ({k + 1: order[k] + 1 for k in range(3)}, tuple(sorted(k + 1 for k in turned)))
    simple = len(turned) + sum(k != order[k] for k in range(3)) <= 2
    if simple:
        assert truth in [(dict(c.gets), c.reversed) for c in finding.causes if not c.voltages]


def test_every_finding_has_words_in_both_languages() -> None:
    from meterwatch.commissioning.finding_words import EN, ZH
    from meterwatch.commissioning.findings import CHECK_OF
    from meterwatch.commissioning.wiring_words import CHECKS

    assert set(EN) == set(ZH) == set(Kind) == set(CHECK_OF)
    assert set(CHECKS) == set(Check)


def test_causes_are_tried_for_any_number_of_loaded_phases() -> None:
    assert [c.reversed for c in causes({2: (205.0 - 360,)})] == [(2,)]
    for pair in itertools.combinations((1, 2, 3), 2):
        assert causes_told(causes({pair[0]: (20.0,), pair[1]: (-160.0,)}), "zh")
