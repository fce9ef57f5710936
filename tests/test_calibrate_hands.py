"""The hands' routine against a hidden truth, what stops it, and what a run makes of the ends that were found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import hands as hands_module
from calibration import history
from calibration.hand_bench import HandRun
from calibration.hand_session import Stepping
from calibration.hands import Hands
from calibration.recording import Recording
from calibration.routine import Value
from exoactor import main
from firmware_bridge.errors import BridgeError
from firmware_bridge.imperfect_hands import ImperfectHands
from firmware_bridge.simulated_hands import read_hand_table
from firmware_bridge.truth import Truth, read_truth
from runtime.calibration_file import load_calibration
from runtime.errors import Refused
from runtime.faults import Mode
from runtime.hand import HANDS, HandModel, load_hand
from runtime.hand_calibration import calibrated, hand_of
from runtime.hand_gate import STREAMED, HandGate
from runtime.records import hand_order_dtype
from runtime.robot import load_robot
from runtime.settings import RunSettings

G1 = load_robot("g1_29dof")
OFF_RAD = 0.12
HIDDEN: dict[str, Any] = {"left": {"index_0": {"encoder_offset_rad": -OFF_RAD}},
                          "right": {"thumb_1": {"encoder_offset_rad": 0.07}}}


@pytest.fixture
def small_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dex3-1 of two joints, touched three times; a whole one takes three simulated minutes."""
    monkeypatch.setattr(hands_module, "TOUCHES", 3)
    data = json.loads((HANDS / "dex3_1.json").read_text("utf-8"))
    data["joints"] = [row for row in data["joints"] if row[0] in ("thumb_1", "index_0")]
    path = tmp_path / "small.json"
    path.write_text(json.dumps(data), "utf-8")
    return path


def truth(hands: dict[str, Any] | None = None) -> Truth:
    return read_truth({"schema": "exoactor-truth/1", "noise": {"q_rad": 1e-3, "dq_rad_s": 0.02}, "hands": hands or {}})


def hands_run(
    path: Path, of: Truth, held: Callable[[], bool] = lambda: True, change: Callable[[ImperfectHands], object] = id,
) -> tuple[HandRun, Recording, ImperfectHands]:
    model = load_hand(str(path))
    simulated = ImperfectHands(read_hand_table(path), model.joints, of)
    change(simulated)
    routine = Hands(model)
    run = HandRun(routine.steps, routine.enclosed, simulated, Stepping(simulated), held)
    return run, run.run(), simulated


def test_both_ends_of_every_joint_are_found_and_written(small_hand: Path, tmp_path: Path) -> None:
    """By the command, as typed."""
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"schema": "exoactor-truth/1", "noise": {"q_rad": 1e-3, "dq_rad_s": 0.02},
                                "hands": HIDDEN}))
    code = main(["calibrate", "hands", "--hands", str(small_hand), "--truth", str(path), "--yes", "--serial", "G1-7",
                 "--file", str(tmp_path / "cal.json"), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert code == 0 and report["outcome"] == "written", report["verdicts"]
    found = load_calibration(tmp_path / "cal.json", G1, "G1-7", datetime.now(timezone.utc)).hands["dex3-1"]
    assert found["left"]["index_0"] == pytest.approx((-1.57 - OFF_RAD, -OFF_RAD), abs=0.005)
    assert found["right"]["thumb_1"] == pytest.approx((-1.05 + 0.07, 0.742 + 0.07), abs=0.005)
    assert found["left"]["thumb_1"] == pytest.approx((-0.724, 1.05), abs=0.005)
    assert report["facts"]["left"]["closed"]["index_0"] == pytest.approx(-0.785 - OFF_RAD, abs=0.005)
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "raw.mcap").stat().st_size > 1000


def test_a_thing_in_the_hand_is_no_end(small_hand: Path) -> None:
    run, recording, _ = hands_run(small_hand, truth(), change=lambda hands: hands.hold(0, 0.6))
    assert not run.stopped
    found = Hands(load_hand(str(small_hand))).fit(recording)
    bad = [verdict.name for verdict in found.verdicts if not verdict.ok]
    assert bad == ["left thumb_1: range", "left index_0: range"]


def test_a_joint_without_an_end_stops_it(small_hand: Path) -> None:
    run, _, hands = hands_run(small_hand, truth({"left": {"index_0": {"lower_rad": -3.0}}}))
    assert "beyond its table" in run.stopped and "left index_0" in run.stopped
    assert not hands._block.any()  # limp


def test_a_hand_that_is_not_there_is_left_out_and_none_stops_it(small_hand: Path) -> None:
    def left_only(hands: ImperfectHands) -> None:
        hands.connected[1] = False

    def none(hands: ImperfectHands) -> None:
        hands.connected[:] = [False, False]

    run, recording, _ = hands_run(small_hand, truth(), change=left_only)
    found = Hands(load_hand(str(small_hand))).fit(recording)
    assert not run.stopped and found.ok
    assert {value.key.split(".")[2] for value in found.values} == {"left"}
    assert "no hand" in hands_run(small_hand, truth(), change=none)[0].stopped


@pytest.mark.parametrize("ticks", [400, 777])
def test_a_released_dead_man_leaves_the_hands_limp_within_20_ms(small_hand: Path, ticks: int) -> None:
    count, limp_after = 0, -1

    def held() -> bool:
        nonlocal count
        count += 1
        return count < ticks

    model = load_hand(str(small_hand))
    simulated = ImperfectHands(read_hand_table(small_hand), model.joints, truth())
    routine, step = Hands(model), Stepping(simulated)

    def advance() -> int:
        nonlocal limp_after
        if count >= ticks and limp_after < 0:
            limp_after = 0
        if limp_after >= 0 and simulated._block.any():
            limp_after += 1
        return step()

    run = HandRun(routine.steps, routine.enclosed, simulated, advance, held)
    run.run()
    assert run.stopped == "the dead-man was released"
    assert not simulated._block.any() and limp_after <= 10


def test_a_hot_hand_stops_it(small_hand: Path) -> None:
    def hot(hands: ImperfectHands) -> None:
        hands.temperature_c[1] = 95

    run, _, hands = hands_run(small_hand, truth(), change=hot)
    assert "right hand is hot" in run.stopped and not hands._block.any()


def test_the_gate_keeps_speed_and_torque_within_the_routines(small_hand: Path) -> None:
    run, recording, _ = hands_run(small_hand, truth(HIDDEN))
    rows, model = recording.rows, load_hand(str(small_hand))
    press = model.kp * np.abs(rows["target"] - rows["q"])
    assert press.max() <= model.kp * model.reach_rad + 0.02  # the row's q is of this write, with its noise
    assert press.max() > 0.7 * model.kp * model.reach_rad  # and it does press
    assert run.gate.model.velocity_rad_s.max() <= hands_module.SWEEP_RAD_S


def kept(path: Path, ends: dict[tuple[str, str], tuple[float, float]], make: str = "dex3-1") -> None:
    values = [Value(f"hands.{make}.{side}.{joint}.{key}_rad", value, 0.001)
              for (side, joint), pair in ends.items() for key, value in zip(("lower", "upper"), pair, strict=True)]
    history.add(path, history.read_data(path, G1.name, "G1-7"), values, {"routine": "hands"},
                now=datetime.now(timezone.utc), valid_days=90, operator="")


def settings(path: Path | None, hands: str = "dex3-1") -> RunSettings:
    shipped = str(HANDS / f"{hands.replace('-', '_')}.json")
    return RunSettings(controller="", robot="g1_29dof", model="", clip=None, command=(0.0, 0.0, 0.0), duration_s=1.0,
                       target="sim", domain=0, interface=None, peers=(), out="", hands=shipped,
                       calibration=None if path is None else str(path), serial="G1-7")


def pose_of(model: HandModel, order_state: int, streamed: np.ndarray | None = None) -> np.ndarray:
    """Where the true joints of a left hand whose index reads `OFF_RAD` too little end."""
    simulated = ImperfectHands(read_hand_table(HANDS / "dex3_1.json"), model.joints,
                               replace(truth(HIDDEN), noise=Truth().noise))
    gate, step = HandGate(model, simulated, 500.0, "keep"), Stepping(simulated)
    order = np.zeros(1, hand_order_dtype(len(model.joints)))
    order["state"] = order_state
    if streamed is not None:
        order["q"][:] = streamed
    for tick in range(1500):
        now = step()
        order["made_ns"], order["sequence"] = now, tick + 1
        gate.tick(now, Mode.READY if tick < 10 else Mode.TRACK, order)
    return np.array(simulated._true[0])


def test_a_runs_states_and_streamed_joints_stand_where_this_hands_joints_do(tmp_path: Path) -> None:
    """Fails where either is not moved: the index would stand `OFF_RAD` from where it was told."""
    table = load_hand("dex3-1")
    index = table.joints.index("index_0")
    kept(tmp_path / "cal.json", {("left", "index_0"): (-1.57 - OFF_RAD, -OFF_RAD)})
    model = hand_of(settings(tmp_path / "cal.json"))
    closed = table.states_rad[2, 0]
    assert pose_of(table, 2)[index] - closed[index] == pytest.approx(OFF_RAD, abs=0.02)
    assert pose_of(model, 2) == pytest.approx(closed, abs=0.02)
    streamed = np.stack([closed * 0.8, table.states_rad[2, 1]])
    assert pose_of(table, STREAMED, streamed)[index] - streamed[0, index] == pytest.approx(OFF_RAD, abs=0.02)
    assert pose_of(model, STREAMED, streamed) == pytest.approx(streamed[0], abs=0.02)


def test_a_stepped_run_and_a_gates_process_take_the_calibrated_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from runtime import gate_hands
    from runtime.lockstep import SteppedHands

    kept(tmp_path / "cal.json", {("right", "thumb_2"): (-1.7, 0.05)})
    run = settings(tmp_path / "cal.json")
    assert run.hands is not None
    assert SteppedHands(run, run.hands).gate.model.upper_rad[1, 2] == pytest.approx(0.05)
    seen: list[HandModel] = []

    def opened(model: HandModel, of: RunSettings) -> None:
        seen.append(model)
        raise Refused("hands", expected="", found="", what_to_do="")

    monkeypatch.setattr(gate_hands, "open_hand_bus", opened)
    with pytest.raises(Refused):
        gate_hands.GateHands(run)
    assert seen[0].upper_rad[1, 2] == pytest.approx(0.05)


def test_a_hand_without_a_calibration_is_its_files(tmp_path: Path) -> None:
    kept(tmp_path / "cal.json", {("left", "index_0"): (-1.6, 0.0)}, make="other")
    for path in (None, tmp_path / "cal.json"):
        model = hand_of(settings(path))
        assert model.table_rad is None
        assert (model.states_rad == load_hand("dex3-1").states_rad).all()


@pytest.mark.parametrize(("ends", "words"), [
    ({("left", "little"): (0.0, 1.0)}, "left little"), ({("left", "index_0"): (-0.9, 0.0)}, "within 0.5 rad"),
    ({("left", "index_0"): (-1.57, 0.6)}, "within 0.5 rad")])
def test_ends_of_another_hand_are_refused(ends: dict[tuple[str, str], tuple[float, float]], words: str) -> None:
    measured: dict[str, dict[str, tuple[float, float]]] = {}
    for (side, joint), pair in ends.items():
        measured.setdefault(side, {})[joint] = pair
    with pytest.raises(Refused, match=words):
        calibrated(load_hand("dex3-1"), measured)


def test_a_truth_of_another_hand_is_refused() -> None:
    model = load_hand("dex3-1")
    with pytest.raises(BridgeError, match="left little"):
        ImperfectHands(read_hand_table(HANDS / "dex3_1.json"), model.joints, truth({"left": {"little": {}}}))
    with pytest.raises(BridgeError, match="hands"):
        read_truth({"schema": "exoactor-truth/1", "hands": [1]})


def test_an_undo_and_a_diff_know_of_hands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cal.json"
    kept(path, {("left", "index_0"): (-1.6, -0.02)})
    kept(path, {("left", "index_0"): (-1.65, -0.08)})
    assert main(["calibrate", "diff", "--file", str(path)]) == 0
    assert "hands.dex3-1.left.index_0.upper_rad" in capsys.readouterr().out
    assert main(["calibrate", "undo", "--file", str(path)]) == 0
    back = load_calibration(path, G1, "G1-7", datetime.now(timezone.utc)).hands
    assert back["dex3-1"]["left"]["index_0"] == (-1.6, -0.02)


def test_real_hands_are_not_touched_by_this_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "hands", "--robot", "g1", "--interface", "lo", "--deadman", "remote", "--serial", "7",
                 "--file", "x.json"]) == 2
    assert main(["calibrate", "hands", "--dry-run", "--yes"]) == 0
    assert "0.375 N m" in capsys.readouterr().out
