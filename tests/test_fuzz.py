"""A short run of every fuzz target: corpus and seeded mutants are taken or refused, and nothing else. The long run is
`make fuzz`."""

from __future__ import annotations

from itertools import islice

import pytest

from runtime.faults import Mode
from tests.fuzz.mutate import mutants
from tests.fuzz.targets import TARGETS, feed, seeds
from tests.gate_fuzz import fuzz, fuzz_machine

MUTANTS = {"clip": 150, "golden": 100, "log": 300, "low_state": 150, "gate_target": 100,
           "motion_bvh": 150, "motion_npz": 250, "motion_pickle": 400, "motion_torch": 250}
"""How many of the slow ones; 100 of each serial protocol, 400 of every other."""


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_taken_or_refused_and_nothing_else(name: str) -> None:
    valid = len(TARGETS[name].seeds())
    count = MUTANTS.get(name, 100 if name.startswith("serial_") else 400)
    answers = [feed(name, data) for data in islice(mutants(seeds(name), seed=1), count)]
    if name not in ("engine", "signature"):  # their seeds are refused: no engine, another text was signed
        assert all(answers[:valid])
    assert len(answers) > valid


def test_what_is_no_refusal_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "robot", type(TARGETS["robot"])(lambda data: data.decode("ascii"), lambda: [b"x"]))
    with pytest.raises(UnicodeDecodeError):
        feed("robot", b"\xff")


@pytest.mark.parametrize(("robot", "ticks"), [("g1_29dof", 30_000), ("g1_23dof", 8_000)])
def test_whatever_is_asked_every_command_stays_within_every_limit(robot: str, ticks: int) -> None:
    done, bad, restarts = fuzz(robot, ticks, seed=2)
    assert (done, bad) == (ticks, 0)
    assert restarts > 0


def test_random_steps_never_rise_without_an_operator() -> None:
    steps, reached = fuzz_machine(3_000, seed=1)
    assert steps > 30_000
    assert reached == sorted(mode.name for mode in Mode)
