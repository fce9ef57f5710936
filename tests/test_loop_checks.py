"""States lost on the way, a policy that fills its period, a loop that pauses: what is counted, and for how long."""

from __future__ import annotations

import pytest

from runtime.fault_table import BIT, PLACE
from runtime.findings import Findings
from runtime.limits import Limits
from runtime.loop_checks import Losses, Misses, Pauses

MS = 1_000_000
TENTH = 100 * MS


class Counter:
    """A robot's counter, some of whose states arrive, looked at every tenth of a second."""

    def __init__(self, step: int = 2, start: int = 100) -> None:
        self.findings = Findings()
        self.losses = Losses(Limits(), self.findings)
        self.step, self.tick, self.last, self.now = step, start, -1, 10**9

    def states(self, count: int, *, lost_after_each: int = 0) -> None:
        for _ in range(count):
            tick = self.tick % (1 << 32)
            self.losses.count(tick, self.last)
            self.last = tick
            self.tick += self.step * (1 + lost_after_each)

    def is_lossy(self, after_ns: int = TENTH) -> bool:
        self.now += after_ns
        flags = self.losses.look(self.now)
        assert flags in (0, BIT["STATE_LOSSY"])
        return flags != 0

    @property
    def ratio(self) -> float:
        return float(self.findings.measured[PLACE["STATE_LOSSY"]])


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_robots_own_step_is_learned(step: int) -> None:
    counter = Counter(step)
    counter.states(20)
    counter.states(200, lost_after_each=1)
    assert counter.is_lossy()
    assert counter.ratio == pytest.approx(1 - 219 / (219 + 199), rel=1e-3)  # the last one's loss is not known yet


def test_a_robot_of_any_step_that_loses_nothing_is_not_lossy() -> None:
    for step in (1, 2, 5):
        counter = Counter(step)
        counter.states(500)
        assert not counter.is_lossy()


@pytest.mark.parametrize(("received", "flag"), [(99, False), (100, True)])
def test_a_hundred_states_say_nothing_yet(received: int, flag: bool) -> None:
    counter = Counter()
    counter.states(2)
    counter.states(received, lost_after_each=1)  # and the second of those before
    assert counter.is_lossy() is flag


def test_what_was_lost_more_than_a_second_ago_is_forgotten() -> None:
    counter = Counter()
    counter.states(2)
    counter.states(150, lost_after_each=1)
    assert counter.is_lossy()
    counter.states(1)
    for _ in range(9):
        counter.states(50)
        assert counter.is_lossy()
    counter.states(50)
    assert not counter.is_lossy()


def test_between_two_looks_the_flag_stands() -> None:
    counter = Counter()
    counter.states(2)
    counter.states(150, lost_after_each=1)
    assert counter.is_lossy()
    for _ in range(3):
        assert counter.is_lossy(TENTH // 4)
    fresh = Counter()
    fresh.states(2)
    assert not fresh.is_lossy(0)
    fresh.states(150, lost_after_each=1)
    assert not fresh.is_lossy(TENTH - 1), "not yet looked at"
    assert fresh.is_lossy(1)


def test_a_counter_that_wraps_has_lost_nothing() -> None:
    counter = Counter(start=(1 << 32) - 301)
    counter.states(300)
    assert not counter.is_lossy()


@pytest.mark.parametrize(("missing", "flag"), [(998, True), (999, False)])
def test_a_counter_that_leaps_by_a_thousand_of_its_steps_began_anew(missing: int, flag: bool) -> None:
    counter = Counter()
    counter.states(120)
    counter.tick += counter.step * missing
    counter.states(1)
    assert counter.is_lossy() is flag


def test_exactly_the_limit_is_not_lossy() -> None:
    counter = Counter()
    counter.losses = Losses(Limits(state_loss_ratio=0.5), counter.findings)
    counter.states(2)
    counter.states(400, lost_after_each=1)
    counter.tick += 2 * counter.step
    counter.states(1)
    assert not counter.is_lossy(), "402 of 804 arrived"
    counter.tick += 2 * counter.step
    counter.states(1)
    assert counter.is_lossy(), "403 of 807"


def test_a_counter_that_begins_at_zero_counts_from_there() -> None:
    counter = Counter(start=0)
    counter.states(2)
    counter.tick += counter.step
    counter.states(200, lost_after_each=1)
    assert counter.is_lossy(), "the only step without a loss was the first"


def test_a_counter_that_is_not_even_has_lost_nothing() -> None:
    counter = Counter()
    for _ in range(100):
        counter.states(1)
        counter.tick += 1
        counter.states(1)
    assert not counter.is_lossy()


def test_what_is_lost_while_the_counter_wraps_is_lost() -> None:
    counter = Counter(start=(1 << 32) - 260)
    counter.states(130)
    counter.tick += 200 * counter.step
    counter.states(1)
    assert counter.is_lossy()
    assert counter.ratio == pytest.approx(1 - 130 / 330, rel=1e-4)


def test_the_ratio_is_that_of_all_parts_of_the_second() -> None:
    counter = Counter()
    counter.states(2)
    for _ in range(4):
        counter.states(100, lost_after_each=1)
        counter.is_lossy()
    assert counter.ratio == pytest.approx(1 - 401 / 800, rel=1e-4)


def test_the_first_look_comes_a_tenth_of_a_second_after_the_clocks_beginning() -> None:
    counter = Counter()
    counter.states(2)
    counter.states(150, lost_after_each=1)
    assert counter.losses.look(TENTH - 1) == 0
    assert counter.losses.look(TENTH) == BIT["STATE_LOSSY"]


PERIOD_NS = 20 * MS


@pytest.mark.parametrize(("taken_ns", "slow"), [(15 * MS, False), (15 * MS + 1, True)])
def test_a_policy_may_take_its_share_of_the_period(taken_ns: int, slow: bool) -> None:
    misses = Misses(Limits(), PERIOD_NS)
    assert misses.look(taken_ns) == 0, "once is no fault"
    assert misses.look(taken_ns) == (BIT["POLICY_SLOW"] if slow else 0)


def test_slow_periods_must_follow_each_other_and_go_on_being_a_fault() -> None:
    misses = Misses(Limits(), PERIOD_NS)
    for _ in range(3):
        assert misses.look(16 * MS) == 0
        assert misses.look(14 * MS) == 0
    assert [bool(misses.look(16 * MS)) for _ in range(4)] == [False, True, True, True]
    assert misses.look(14 * MS) == 0


class Loop:
    """A gate's loop of 2 ms that pauses when told to."""

    def __init__(self, *, real_time: bool = True) -> None:
        self.findings = Findings()
        self.pauses = Pauses(Limits(), self.findings, real_time=real_time)
        self.now = 10**9
        assert self.pauses.look(self.now) == 0, "the first tick has no tick before it"

    def tick(self, after_ns: int = 2 * MS) -> int:
        self.now += after_ns
        return self.pauses.look(self.now)


@pytest.mark.parametrize(("gap_ns", "flag"), [(5 * MS, 0), (5 * MS + 1, BIT["GATE_PAUSE"])])
def test_a_pause_is_longer_than_five_milliseconds(gap_ns: int, flag: int) -> None:
    loop = Loop()
    assert loop.tick() == 0
    assert loop.tick(gap_ns) == flag
    assert loop.findings.measured[PLACE["GATE_PAUSE"]] == pytest.approx(gap_ns * 1e-9 if flag else 0)
    assert loop.tick() == 0


@pytest.mark.parametrize(("within_ns", "is_fault"), [(10**9 - 1, True), (10**9, False)])
def test_four_pauses_within_a_second_are_a_fault_and_over_a_second_are_not(within_ns: int, is_fault: bool) -> None:
    loop = Loop()
    for _ in range(3):
        assert loop.tick(8 * MS) == BIT["GATE_PAUSE"]
    flags = loop.tick(within_ns - 16 * MS)
    assert flags & BIT["GATE_PAUSE"]
    assert bool(flags & BIT["GATE_OVERRUN"]) is is_fault
    assert loop.findings.measured[PLACE["GATE_OVERRUN"]] == (4 if is_fault else 0)


def test_pauses_go_on_being_a_fault_until_four_take_longer_than_a_second() -> None:
    loop = Loop()
    overran = [bool(loop.tick(8 * MS) & BIT["GATE_OVERRUN"]) for _ in range(6)]
    assert overran == [False, False, False, True, True, True]
    assert not loop.tick(10**9) & BIT["GATE_OVERRUN"]


def test_a_machine_without_real_time_rights_is_only_counted() -> None:
    loop = Loop(real_time=False)
    assert all(loop.tick(8 * MS) == BIT["GATE_PAUSE"] for _ in range(10))


def test_a_limit_of_no_pause_at_all_makes_the_first_one_a_fault() -> None:
    loop = Loop()
    loop.pauses = Pauses(Limits(gate_overruns=0), loop.findings, real_time=True)
    loop.tick()
    for _ in range(2):
        assert loop.tick(8 * MS) & BIT["GATE_OVERRUN"]
        loop.tick(2 * 10**9)


def test_pauses_of_long_ago_do_not_hide_a_new_burst() -> None:
    loop = Loop()
    for _ in range(6):
        loop.tick(8 * MS)
    for _ in range(600):
        loop.tick(4 * MS)
    assert [bool(loop.tick(8 * MS) & BIT["GATE_OVERRUN"]) for _ in range(4)] == [False, False, False, True]
