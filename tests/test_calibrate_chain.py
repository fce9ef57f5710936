"""The closed chain: what a fixture tells of the joints, what it does not, and the routine against a hidden truth."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration import closed_chain
from calibration.closed_chain import ClosedChain, fit_chain
from calibration.loop import Loop
from exoactor import main
from firmware_bridge.errors import BridgeError
from firmware_bridge.fixture import FIXTURES, Fixture
from firmware_bridge.plant import load_plant
from firmware_bridge.simulated_robot import PLANTS
from runtime.calibration_file import load_calibration
from runtime.errors import Refused
from runtime.robot import load_robot
from runtime.rotation import quat_from_vector_many

G1 = load_robot("g1_29dof")
HIP_PITCHES = ["left_hip_pitch_joint", "right_hip_pitch_joint"]
NOISE_RAD = 5e-4


@pytest.fixture(scope="module")
def legs() -> tuple[Loop, np.ndarray]:
    """The legs' loop, and postures that close it."""
    loop = Loop(G1, FIXTURES["feet"])
    return loop, np.array([way[-1] for way in loop.postures(8)])


@pytest.mark.parametrize("name", ["feet", "hands"])
def test_a_fixture_holds_a_robot_as_its_joints_at_zero_do(name: str) -> None:
    loop = Loop(G1, FIXTURES[name])
    assert np.abs(loop.gap(np.zeros(len(loop.joints)))[0]).max() < 2e-4
    assert {"feet": 12, "hands": 14}[name] == len(loop.joints)


def test_the_slope_of_the_gap_is_its_difference(legs: tuple[Loop, np.ndarray]) -> None:
    loop, postures = legs
    q = postures[2] + 0.1
    gap, slope = loop.gap(q)
    for joint in range(len(q)):
        step = np.zeros(len(q))
        step[joint] = 1e-6
        # The rotation vector's slope is the angular velocity only where the gap is small.
        assert slope[:3, joint] == pytest.approx((loop.gap(q + step)[0] - gap)[:3] / 1e-6, abs=1e-4)
    small = loop.gap(postures[2])[1]
    assert small[3:, 0] == pytest.approx(loop.gap(postures[2] + np.eye(len(q))[0] * 1e-6)[0][3:] / 1e-6, abs=1e-4)


def test_ways_stay_closed_and_free_and_within_the_range(legs: tuple[Loop, np.ndarray]) -> None:
    loop, postures = legs
    way = loop.way(postures[0], postures[1])
    assert way is not None
    for q in way:
        assert np.abs(loop.gap(q)[0]).max() < 1e-5 and loop.is_free(q)
        assert (q >= loop.lower - 1e-9).all() and (q <= loop.upper + 1e-9).all()


def test_legs_that_run_into_each_other_are_not_free(legs: tuple[Loop, np.ndarray]) -> None:
    loop, _ = legs
    crossed = np.zeros(12)
    crossed[loop.joints.index("left_hip_roll_joint")] = -0.45
    assert loop.is_free(np.zeros(12)) and not loop.is_free(crossed)


def test_both_hip_pitches_alike_cannot_be_told_and_everything_else_can(legs: tuple[Loop, np.ndarray]) -> None:
    """A robot whose hips are both off by the same holds the plate as one that is off by nothing."""
    loop, postures = legs
    off = np.zeros(12)
    hips = [loop.joints.index(name) for name in HIP_PITCHES]
    off[hips], off[3] = 0.06, 0.05
    chain = fit_chain(loop, postures + off, FIXTURES["feet"])
    assert chain.told.sum() == 11 and np.isinf(chain.half_width[hips]).all()
    others = np.delete(np.arange(12), hips)
    assert chain.offset[others] == pytest.approx(off[others], abs=1e-5)
    assert chain.offset[hips] == pytest.approx([0, 0], abs=1e-5)  # what cannot be told is left as it was
    combination = chain.combinations(loop.joints)[-1]
    assert not combination["told"] and sorted(combination["joints"]) == HIP_PITCHES


def test_the_intervals_cover_noise_and_a_fixture_within_its_tolerance(legs: tuple[Loop, np.ndarray]) -> None:
    loop, postures = legs
    rng, inside = np.random.default_rng(5), []
    made = FIXTURES["feet"]
    for _ in range(40):
        position = np.array(made.position_m) + made.position_tolerance_m * rng.standard_normal(3)
        quat = quat_from_vector_many(made.angle_tolerance_rad * rng.standard_normal((1, 3)))[0]
        real = Loop(G1, Fixture("as made", made.bodies, tuple(position), tuple(quat)))
        off = rng.uniform(-0.05, 0.05, 12)
        closed = [real.closed(q) for q in postures]
        assert all(q is not None for q in closed)
        seen = np.array(closed) + off + NOISE_RAD * rng.standard_normal(postures.shape)
        chain = fit_chain(loop, seen, made)
        known = np.isfinite(chain.half_width)
        inside += (np.abs(chain.offset - off) <= chain.half_width)[known].tolist()
    assert 0.90 <= np.mean(inside) <= 0.99


def test_few_postures_are_refused(legs: tuple[Loop, np.ndarray]) -> None:
    loop, postures = legs
    with pytest.raises(ValueError, match="do not determine"):
        fit_chain(loop, postures[:2], FIXTURES["feet"])


def test_a_fixture_for_another_robot_is_refused() -> None:
    with pytest.raises(BridgeError, match="fixture claws"):
        load_plant(PLANTS / "g1_29dof.xml", fixture=Fixture("claws", ("left_claw", "torso_link"), (0, 0, 0)))
    with pytest.raises(Refused, match="closed chain"):
        Loop(replace(G1, name="other"), FIXTURES["feet"])


@pytest.fixture
def few_postures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell the joints; all of them take a simulated minute."""
    monkeypatch.setattr(closed_chain, "FITTED", 4)
    monkeypatch.setattr(closed_chain, "HELD_OUT", 1)
    monkeypatch.setattr(closed_chain, "SPEED_RAD_S", 1.2)
    monkeypatch.setattr(closed_chain, "SETTLE_S", 0.5)
    monkeypatch.setattr(closed_chain, "LOOK_S", 0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("few_postures")
def test_a_plate_under_both_feet_finds_what_the_legs_are_off_by(tmp_path: Path) -> None:
    """By the command, as typed, with noise and friction; hip pitches are only told apart, and so left alone."""
    rng = np.random.default_rng(11)
    names = list(Loop(G1, FIXTURES["feet"]).joints)
    off = {name: float(rng.uniform(-0.06, 0.06)) for name in names}
    truth = {"schema": "exoactor-truth/1", "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
             "joints": {name: {"encoder_offset_rad": value, "coulomb_n_m": 0.3} for name, value in off.items()}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    code = main(["calibrate", "closed-chain", "--robot", "sim", "--truth", str(tmp_path / "truth.json"), "--yes",
                 "--file", str(tmp_path / "cal.json"), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 0 and report["outcome"] == "written", report["verdicts"]
    assert sorted(report["facts"]["not_told"]) == HIP_PITCHES
    file = load_calibration(tmp_path / "cal.json", G1, None, datetime.now(timezone.utc))
    assert sorted(file.offsets) == sorted(set(names) - set(HIP_PITCHES))
    for name, (encoder, command) in file.offsets.items():
        assert encoder == pytest.approx(off[name], abs=0.01) and command == encoder
    widths = {row["key"].split(".")[1]: row["half_width"] for row in report["values"]}
    assert np.mean([abs(file.offsets[name][0] - off[name]) <= widths[name] for name in widths]) >= 0.9


def test_feet_that_are_in_no_fixture_give_nothing(legs: tuple[Loop, np.ndarray]) -> None:
    """Each foot wanders by some millimetres: the chain does not close, whatever the offsets."""
    loop, postures = legs
    routine = ClosedChain()
    routine._loop, routine._wanted = loop, set(loop.joints)
    routine._offset = np.zeros(12)
    loose = postures + np.random.default_rng(3).normal(0, 0.02, postures.shape)
    found = routine._found(fit_chain(loop, loose, FIXTURES["feet"]), {"posture/": loose, "held-out/": loose[:2]})
    assert not found.ok
    assert "the chain closes" in [verdict.name for verdict in found.verdicts if not verdict.ok]
