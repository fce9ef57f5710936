"""The policy between its slots, on a fake clock: what it reads, what it tells the gate, and how slow is too slow."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.errors import Refused
from runtime.faults import Mode, flag_names
from runtime.limits import Limits
from runtime.loop_checks import Misses
from runtime.manifest_reader import load_manifest
from runtime.mux import Source
from runtime.policy_process import PolicyProcess
from runtime.records import (
    OPERATOR_DTYPE,
    POLICY_RING,
    STREAM_RING,
    policy_log_dtype,
    status_dtype,
    stream_dtype,
    target_dtype,
)
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.steered import NO_CONTROLLER, USUAL, check_pair, find_steered

TWIST2 = load_manifest("twist2")
HOLOSOMA = load_manifest("holosoma-velocity")
PERIOD_NS = 20_000_000
LONGEST_NS = 15_000_000


@pytest.mark.parametrize(("taken_ns", "in_a_row", "is_slow"), [
    (LONGEST_NS, 5, False), (LONGEST_NS + 1, Limits().policy_misses - 1, False),
    (LONGEST_NS + 1, Limits().policy_misses, True),
])
def test_too_many_long_periods_in_a_row_are_slow(taken_ns: int, in_a_row: int, is_slow: bool) -> None:
    misses = Misses(Limits(), PERIOD_NS)
    for _ in range(3):
        flags = [misses.look(taken_ns) for _ in range(in_a_row)]
        assert flag_names(flags[-1]) == (["POLICY_SLOW"] if is_slow else [])
        assert misses.look(LONGEST_NS) == 0, "one in time begins the count anew"


class FakePolicy:
    """Takes as long as it is told."""

    def __init__(self) -> None:
        self.manifest = TWIST2
        self.target = np.zeros(1, target_dtype(29))
        self.log = np.zeros(1, policy_log_dtype(29, 29, 4))
        self.helm = SimpleNamespace(operator=np.zeros(1, OPERATOR_DTYPE), notices=[])
        self.hands = self.planner = None
        self.stream = SimpleNamespace(take=lambda data: self.frames.append(data))
        self.frames: list[bytes] = []
        self.modes: list[Mode] = []
        self.flags = 0

    def tick(self, mode: Mode, state: Any, now_ns: int) -> None:
        self.modes.append(mode)
        self.target["sequence"] += 1
        self.target["flags"] = self.flags

    def write_log(self, *rest: Any) -> None:
        pass


class Desk:
    """A policy process with its slots in a folder, and the other ends of them."""

    def __init__(self, folder: Path) -> None:
        settings = replace(settings_of(teleop="network"), run=7, shared=str(folder))
        self.status = Slot(folder / "status", status_dtype(29), 7, create=True)
        self.gate_end = Slot(folder / "target", target_dtype(29), 7, create=True)
        self.operator = Slot(folder / "operator", OPERATOR_DTYPE, 7, create=True)
        self.stream = Ring(folder / "stream_ring", stream_dtype(29), 7, STREAM_RING, create=True)
        self.policy = FakePolicy()
        self.process = PolicyProcess(settings, self.policy)  # type: ignore[arg-type]
        self.log = Ring(folder / "policy_ring", self.policy.log.dtype, 7, POLICY_RING)

    def tick(self, taken_ns: int = 0) -> list[str]:
        """A period that takes so long; the flags the gate reads afterwards."""
        self.process.tick(1_000, 0, lambda: 1_000 + taken_ns)
        assert self.gate_end.read()
        return flag_names(int(self.gate_end.record["flags"][0]))


def settings_of(**changes: Any) -> RunSettings:
    return RunSettings(**{
        "controller": "twist2", "robot": "g1_29dof", "model": None, "clip": None, "command": (0.0, 0.0, 0.0),
        "duration_s": None, "target": "sim", "domain": 0, "interface": None, "peers": (), "out": "", **changes,
    })


def test_slowness_reaches_the_gate_beside_the_policy_s_own_flags(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.tick(LONGEST_NS + 1) == []
    assert desk.tick(LONGEST_NS + 1) == ["POLICY_SLOW"]
    assert desk.tick(LONGEST_NS) == []
    desk.policy.flags = 1 << 3
    assert desk.tick() == flag_names(1 << 3)


def test_operator_frames_and_mode_reach_the_policy(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.operator.record["engages"], desk.operator.record["source"] = 5, Source.STREAM
    desk.operator.publish()
    desk.status.record["mode"] = Mode.HOLD
    desk.status.publish()
    for number in range(3):
        desk.stream.record["sequence"] = number
        desk.stream.push()
    desk.tick()
    assert desk.policy.modes == [Mode.HOLD]
    assert int(desk.policy.helm.operator["engages"][0]) == 5
    assert [int(np.frombuffer(data, stream_dtype(29))["sequence"][0]) for data in desk.policy.frames] == [0, 1, 2]


def test_what_an_operator_should_hear_becomes_an_event(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path)
    desk.policy.helm.notices = deque(["not engaged by stream: too far"])
    desk.tick()
    assert "not engaged by stream: too far" in capfd.readouterr().out
    assert not desk.policy.helm.notices


def test_a_run_without_an_operator_has_no_controller_beside_its_own() -> None:
    assert find_steered(settings_of(), TWIST2) == (None, "")


@pytest.mark.parametrize("given", [{"teleop_controller": "holosoma-velocity"}, {"teleop_model": "a.onnx"}])
def test_a_controller_to_steer_wants_somebody_who_steers(given: dict[str, str]) -> None:
    with pytest.raises(Refused, match="--teleop"):
        find_steered(settings_of(**given), TWIST2)


def test_a_run_s_own_velocity_controller_is_steered_unless_another_is_named() -> None:
    assert find_steered(settings_of(teleop="keyboard"), HOLOSOMA) == (None, "")
    named, warning = find_steered(settings_of(teleop="keyboard", teleop_controller="holosoma-velocity"), HOLOSOMA)
    assert named is not None
    assert warning == ""


def test_an_operator_may_do_without() -> None:
    assert find_steered(settings_of(teleop="network", teleop_controller=NO_CONTROLLER), TWIST2) == (None, "")


def test_the_usual_controller_is_taken_and_missed_aloud_on_another_robot() -> None:
    found, warning = find_steered(settings_of(teleop="network"), TWIST2)
    assert found is not None
    assert (found.manifest.name, warning) == (USUAL, "")
    small = replace(TWIST2, robot=replace(TWIST2.robot, name="another"))
    found, warning = find_steered(settings_of(teleop="network"), small)
    assert found is None
    assert "another" in warning


@pytest.mark.parametrize(("changes", "found"), [
    ({"kind": "tracker"}, "a tracker"), ({"rate_hz": 100.0}, "100 Hz"),
    ({"robot": replace(TWIST2.robot, name="another")}, "another"),
])
def test_a_pair_that_cannot_be_handed_over_is_refused(changes: dict[str, Any], found: str) -> None:
    check_pair(HOLOSOMA, TWIST2)
    with pytest.raises(Refused, match=found):
        check_pair(replace(HOLOSOMA, **changes), TWIST2)
