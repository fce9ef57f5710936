"""Foot forces: tare and scale from air and ground, what a run makes of them, and the routine against a hidden truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration import contacts, history
from calibration.contacts import Contacts, fit_forces
from calibration.routine import Value
from exoactor import main
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.calibration_file import load_calibration
from runtime.classical_estimator import AIR_N, FORCE_N, TOUCH_N, ClassicalEstimator
from runtime.errors import Refused
from runtime.estimator import open_estimator
from runtime.robot import load_robot

G1 = load_robot("g1_29dof")
FEET = ["left", "right"]
WEIGHT_N = 327.0


def said(rng: np.random.Generator, air: np.ndarray, scale: np.ndarray, spreads: list[float]) -> dict[str, np.ndarray]:
    """What the torques say: in the air four times, on the ground with the weight spread so."""
    true = WEIGHT_N * np.array([[0.5 + spread, 0.5 - spread] for spread in spreads])
    ground = true * scale + air
    return {"air": air + 0.5 * rng.standard_normal((4, 2)), "held-out air": air + 0.5 * rng.standard_normal((1, 2)),
            "ground": ground + 0.5 * rng.standard_normal(ground.shape), "held-out ground": ground[:1]}


def test_tare_and_scale_of_each_foot_come_from_the_weight_however_it_is_spread() -> None:
    rng, air, scale = np.random.default_rng(0), np.array([-32.0, -24.0]), np.array([1.25, 0.9])
    inside = []
    for _ in range(200):
        found = fit_forces(FEET, said(rng, air, scale, [0.0, 0.15, -0.15, 0.08]), WEIGHT_N)
        assert found.ok
        for value in found.values:
            foot, key = value.key.split(".")[1:]
            true = (air if key == "air_force_n" else scale)[FEET.index(foot)]
            inside.append(abs(value.value - true) <= value.half_width)
            assert value.value == pytest.approx(true, rel=0.05)
    assert np.mean(inside) >= 0.9


def test_a_robot_of_another_weight_is_within_the_interval_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(1), []
    for _ in range(300):
        off = 1 + contacts.WEIGHT_TOLERANCE * rng.standard_normal()
        found = fit_forces(FEET, said(rng, np.full(2, -26.0), np.ones(2), [0, 0.15, -0.15, 0.08]), WEIGHT_N * off)
        scales = [value for value in found.values if value.key.endswith("scale")]
        inside += [abs(value.value - 1) <= value.half_width for value in scales]
    assert 0.9 <= np.mean(inside) <= 0.99


def test_a_weight_that_is_always_spread_alike_tells_no_foot() -> None:
    seen = said(np.random.default_rng(2), np.zeros(2), np.ones(2), [0.0, 0.0, 0.0, 0.0])
    seen["ground"][:] = seen["ground"][0]
    with pytest.raises(ValueError, match="do not determine"):
        fit_forces(FEET, seen, WEIGHT_N)


def test_a_foot_that_a_rope_still_carries_gives_nothing() -> None:
    """A third of the weight hangs on the rope: the scale would be a third too small."""
    seen = said(np.random.default_rng(3), np.full(2, -26.0), np.full(2, 0.55), [0.0, 0.15, -0.15, 0.08])
    assert not fit_forces(FEET, seen, WEIGHT_N).ok


def kept(path: Path, foot: str, air_n: float, scale: float) -> None:
    history.add(path, history.read_data(path, G1.name, "G1-7"),
                [Value(f"feet.{foot}.air_force_n", air_n, 1.0), Value(f"feet.{foot}.force_scale", scale, 0.02)],
                {"routine": "test"}, now=datetime.now(timezone.utc), valid_days=90, operator="")


def test_a_file_holds_feet_and_its_history_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cal.json"
    kept(path, "left", -32.0, 1.25)
    kept(path, "right", -24.0, 0.9)
    file = load_calibration(path, G1, "G1-7", datetime.now(timezone.utc))
    assert file.feet == {"left": (-32.0, 1.25), "right": (-24.0, 0.9)}
    assert main(["calibrate", "diff", "--file", str(path)]) == 0
    assert "feet.right.force_scale" in capsys.readouterr().out
    assert main(["calibrate", "list", "--file", str(path)]) == 0
    assert "feet" in capsys.readouterr().out
    assert main(["calibrate", "undo", "--file", str(path)]) == 0
    assert set(load_calibration(path, G1, "G1-7", datetime.now(timezone.utc)).feet) == {"left"}


@pytest.mark.parametrize(("foot", "scale", "words"), [("third", 1.0, "joints and feet"), ("left", 9.0, "0.3 to 3")])
def test_feet_that_a_robot_lacks_or_cannot_have_are_refused(
    tmp_path: Path, foot: str, scale: float, words: str
) -> None:
    with pytest.raises(Refused, match=words):
        kept(tmp_path / "cal.json", foot, -26.0, scale)
        load_calibration(tmp_path / "cal.json", G1, "G1-7", datetime.now(timezone.utc))


def contacts_under(force_n: float, feet: Mapping[str, tuple[float, float]] | None) -> list[float]:
    """Of feet that are level and under which the torques say this."""
    estimator = ClassicalEstimator(G1, 50.0, feet)
    estimator.odometry.force[:] = force_n
    estimator.odometry.height[:] = 0.7
    return estimator._contacts()


def test_a_runs_contacts_use_what_was_measured() -> None:
    """The same probability for the same true force, whatever the torques say of it."""
    nominal = contacts_under(AIR_N + TOUCH_N + FORCE_N, None)
    own = contacts_under(-32 + 1.25 * (TOUCH_N + FORCE_N), {"left": (-32.0, 1.25)})
    assert own[0] == pytest.approx(nominal[0])
    assert own[1] != pytest.approx(nominal[1], abs=1e-3)
    opened, _ = open_estimator("classical", G1, 50.0, feet={"left": (-32.0, 1.25)})
    assert isinstance(opened, ClassicalEstimator) and opened._touch[0] == (-32 + 1.25 * TOUCH_N, 1.25 * FORCE_N)


def test_a_robot_that_is_let_down_stands_on_its_feet_alone_and_hangs_again() -> None:
    robot = SimulatedRobot(hangs=True)
    while not robot.lower(down=True):
        robot.step()
    robot.step(50)
    assert robot._hook is not None and robot._hook.is_down
    while not robot.lower(down=False):
        robot.step()
    robot.step(100)
    assert robot._hook.load_n() == 0


@pytest.fixture
def few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell; all of them take half a simulated minute."""
    for name, value in (("AIR_RAD", (0.0, 0.15)), ("GROUND_RAD", (0.0, 0.12, -0.12)), ("LOOK_S", 0.2),
                        ("HELD_OUT_GROUND_RAD", (0.06,)), ("SETTLE_S", 0.4), ("LANDED_S", 1.0), ("SPEED_RAD_S", 0.6)):
        monkeypatch.setattr(contacts, name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("few_looks")
def test_legs_whose_torques_are_not_true_are_found_by_the_robots_own_weight(tmp_path: Path) -> None:
    """By the command, as typed: the left leg gives 0.8, the right one 1.1 of what it says."""
    legs = [name for foot in G1.feet for name in foot.joints]
    truth = {"schema": "exoactor-truth/1", "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05},
             "joints": {name: {"torque_scale": 0.8 if name.startswith("left") else 1.1} for name in legs}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    code = main(["calibrate", "contacts", "--robot", "sim", "--truth", str(tmp_path / "truth.json"), "--yes",
                 "--file", str(tmp_path / "cal.json"), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 0 and report["outcome"] == "written", report
    feet = load_calibration(tmp_path / "cal.json", G1, None, datetime.now(timezone.utc)).feet
    for name, true in (("left", 1 / 0.8), ("right", 1 / 1.1)):
        assert feet[name][1] == pytest.approx(true, rel=0.03)
        assert -45 < feet[name][0] < -15
    assert set(report["facts"]["thresholds_n"]) == {"left", "right"}


def test_a_robot_without_feet_is_refused() -> None:
    with pytest.raises(Refused, match="feet"):
        Contacts().prepare(replace(G1, feet=()), [], np.zeros(29))
