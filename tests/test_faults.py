"""The fault table and its machine: down by itself, up only by an operator, and out of DAMP only into ZERO."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.fault_table import FAULTS, UNFLAGGED, Where, table_markdown
from runtime.fault_table import FLAGS as TABLE
from runtime.faults import BIT, PLACE, Fault, Machine, Mode, Request, flag_names, most_severe, step
from runtime.limits import LOOSER_WHEN_SMALLER, Limits, loosened
from tests.fuzz.invariants import check_step

FLAGS = st.integers(0, (1 << len(TABLE)) - 1)
SEVERE = [fault for fault in TABLE if fault.reaction is not None]
COUNTED = [fault for fault in TABLE if fault.reaction is None]
ARMED = (Mode.READY, Mode.TRACK, Mode.HOLD, Mode.STAND)
UP = {Request.ARM, Request.TRACK}
START = {mode: Machine(mode, -1, 7) for mode in Mode}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.flag)
def test_row_is_consistent(fault: Fault) -> None:
    assert fault.flag == fault.flag.upper()
    assert fault.meaning
    assert fault.norm
    assert FAULTS[PLACE[fault.flag]] is fault
    if fault.has_bit:
        assert BIT[fault.flag] == 1 << PLACE[fault.flag]
        assert fault.detect_s is not None
        assert fault.detect_s > 0
    assert fault.reaction in (None, Mode.HOLD, Mode.STAND, Mode.DAMP)
    assert fault.where is not Where.START or fault.reaction is None
    assert not fault.forbids or fault.reaction is None
    if fault.limit is not None:
        assert fault.limit in {field.name for field in fields(Limits)}
        assert getattr(Limits(), fault.limit) > 0
    assert f"| `{fault.flag}` |" in table_markdown()


def test_flags_are_unique_and_fit_a_64_bit_word() -> None:
    assert len(BIT) == len(TABLE) <= 64
    assert FAULTS[: len(TABLE)] == TABLE
    assert len(PLACE) == len(FAULTS)


def test_the_table_covers_all_64_kinds_of_fault() -> None:
    assert {fault.row for fault in FAULTS} - {0} | set(UNFLAGGED) == set(range(1, 65))
    assert not {fault.row for fault in FAULTS} & set(UNFLAGGED)
    assert set(UNFLAGGED.values()) <= set(PLACE)


def test_a_limit_that_lets_more_pass_is_named_and_one_that_lets_less_is_not() -> None:
    assert loosened(Limits()) == []
    for field in fields(Limits):
        looser, stricter = (0.5, 2) if field.name in LOOSER_WHEN_SMALLER else (2, 0.5)
        if field.name == "target_margin_rad":
            looser, stricter = 1, 0
        default = getattr(Limits(), field.name)
        if default == math.inf:  # nothing is looser
            assert loosened(Limits(**{field.name: 1.0})) == []
            continue
        more = looser if default == 0 else type(default)(default * looser)
        assert [line.split()[1] for line in loosened(Limits(**{field.name: more}))] == [field.name]
        assert loosened(Limits(**{field.name: type(default)(default * stricter)})) == []


def test_limits_are_ordered_from_warning_to_damping() -> None:
    limits = Limits()
    assert 0 < limits.state_warn_s < limits.state_hold_s < limits.state_damp_s


@pytest.mark.parametrize("mode", ARMED)
@pytest.mark.parametrize("fault", SEVERE, ids=lambda fault: fault.flag)
def test_a_fault_leads_to_its_reaction_in_one_step_and_is_named_as_cause(fault: Fault, mode: Mode) -> None:
    after = step(START[mode], BIT[fault.flag], Request.NONE, 100)
    assert fault.reaction is not None
    if fault.reaction > mode:
        assert after == Machine(fault.reaction, PLACE[fault.flag], 100)
    else:
        assert after == START[mode]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("fault", COUNTED, ids=lambda fault: fault.flag)
def test_a_counted_flag_changes_nothing(fault: Fault, mode: Mode) -> None:
    assert step(START[mode], BIT[fault.flag], Request.NONE, 100) == START[mode]


@pytest.mark.parametrize("fault", SEVERE, ids=lambda fault: fault.flag)
def test_a_fault_forbids_arming_and_nothing_else(fault: Fault) -> None:
    assert step(Machine(), BIT[fault.flag], Request.ARM, 1) == Machine()
    assert step(Machine(), BIT[fault.flag], Request.NONE, 1) == Machine()
    assert step(Machine(), 0, Request.ARM, 1).mode is Mode.READY


@pytest.mark.parametrize("fault", COUNTED, ids=lambda fault: fault.flag)
def test_a_counted_flag_allows_arming_unless_its_row_forbids_it(fault: Fault) -> None:
    expected = Mode.DISARMED if fault.forbids else Mode.READY
    assert step(Machine(), BIT[fault.flag], Request.ARM, 1).mode is expected


@pytest.mark.parametrize("fault", SEVERE, ids=lambda fault: fault.flag)
def test_a_standing_fault_keeps_an_operator_from_going_up(fault: Fault) -> None:
    for mode in ARMED:
        assert step(START[mode], BIT[fault.flag], Request.TRACK, 1).mode >= max(mode, fault.reaction or mode)


def test_every_pair_of_flags_in_every_mode_with_every_request_is_decided_by_the_worst() -> None:
    pairs = [0, *BIT.values(), *(BIT[a.flag] | BIT[b.flag] for a, b in combinations(TABLE, 2))]
    for flags, mode, request in product(pairs, Mode, Request):
        check_step(START[mode], flags, request, step(START[mode], flags, request, 9))


@given(FLAGS, FLAGS)
def test_more_flags_never_soften_the_reaction(flags: int, more: int) -> None:
    for mode in ARMED:
        assert step(START[mode], flags | more, Request.NONE, 1).mode >= step(START[mode], flags, Request.NONE, 1).mode


@given(FLAGS)
def test_most_severe_names_its_first_cause(flags: int) -> None:
    worst, cause = most_severe(flags)
    reactions = [(TABLE[place].reaction, place) for place in range(len(TABLE)) if flags >> place & 1]
    ranked = [(reaction, place) for reaction, place in reactions if reaction is not None]
    if not ranked:
        assert (worst, cause) == (None, -1)
    else:
        top = max(reaction for reaction, _ in ranked)
        assert (worst, cause) == (top, min(place for reaction, place in ranked if reaction == top))


@given(FLAGS)
def test_flag_names_are_those_of_the_set_bits(flags: int) -> None:
    assert sum(BIT[name] for name in flag_names(flags)) == flags


@pytest.mark.parametrize("mode", [Mode.DAMP, Mode.ZERO])
@given(FLAGS, st.sampled_from([request for request in Request if request is not Request.ZERO]))
def test_damp_and_zero_absorb(mode: Mode, flags: int, request: Request) -> None:
    assert step(START[mode], flags, request, 1) == START[mode]


@pytest.mark.parametrize(("mode", "request_", "expected"), [
    (Mode.DISARMED, Request.ARM, Mode.READY),
    (Mode.DISARMED, Request.TRACK, Mode.DISARMED),
    (Mode.DISARMED, Request.STAND, Mode.DISARMED),
    (Mode.DISARMED, Request.ZERO, Mode.DISARMED),
    (Mode.DISARMED, Request.DAMP, Mode.DAMP),
    (Mode.READY, Request.ARM, Mode.READY),
    (Mode.READY, Request.TRACK, Mode.TRACK),
    (Mode.TRACK, Request.STAND, Mode.STAND),
    (Mode.TRACK, Request.ZERO, Mode.DAMP),
    (Mode.HOLD, Request.TRACK, Mode.TRACK),
    (Mode.HOLD, Request.STAND, Mode.STAND),
    (Mode.STAND, Request.TRACK, Mode.TRACK),
    (Mode.STAND, Request.ARM, Mode.STAND),
    (Mode.STAND, Request.STAND, Mode.STAND),
    (Mode.DAMP, Request.ZERO, Mode.ZERO),
    (Mode.ZERO, Request.ARM, Mode.ZERO),
])
def test_an_operators_request(mode: Mode, request_: Request, expected: Mode) -> None:
    after = step(START[mode], 0, request_, 5)
    assert after == (Machine(expected, -1, 5) if expected is not mode else START[mode])


@pytest.mark.parametrize("fault", SEVERE, ids=lambda fault: fault.flag)
def test_whoever_damps_an_unarmed_robot_hears_what_was_wrong_with_it(fault: Fault) -> None:
    assert step(Machine(), BIT[fault.flag], Request.DAMP, 3) == Machine(Mode.DAMP, PLACE[fault.flag], 3)
