"""What surrounds a routine: the dead-man, the folder of an interrupted one, the recording read back, and bring-up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from calibration import parts
from calibration.bench import STRONG_TICKS, USUAL_TORQUE, Bench, Stopped
from calibration.bring_up import BringUp
from calibration.envelope import LOST_S, TARGET_S, enclose
from calibration.lockstep import CalibrationRun
from calibration.raw import finished_part, joined
from calibration.recording import Rows, split
from calibration.routine import Found
from exoactor import main
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from runtime.deadman import FIRST_NS, REPEAT_NS, ButtonDeadman, HeldKeys, parse_deadman, remote_masks
from runtime.errors import Refused
from runtime.robot import load_robot
from runtime.settings import RunSettings

G1 = load_robot("g1_29dof")
ELBOW, WRIST, ANKLE = "left_elbow_joint", "left_wrist_yaw_joint", "left_ankle_roll_joint"
MS = 1_000_000


# ---- the dead-man


def test_the_space_bar_is_held_while_it_repeats_and_let_go_half_a_second_after() -> None:
    keys = HeldKeys()
    assert not keys.held(0)
    keys.feed(b" ", 0)
    assert keys.held(FIRST_NS) and not keys.held(FIRST_NS + 1)
    for now in range(600, 3000, 50):
        keys.feed(b" ", now * MS)
        assert keys.held(now * MS + REPEAT_NS)
    assert not keys.held(2950 * MS + REPEAT_NS + 1)


@pytest.mark.parametrize("key", [b"x", b"\x1b", b"\x03", b"g", b"  q "])
def test_any_other_key_lets_go_for_good(key: bytes) -> None:
    keys = HeldKeys()
    keys.feed(b" ", 0)
    keys.feed(key, 10 * MS)
    keys.feed(b"   ", 20 * MS)
    assert not keys.held(21 * MS)


def test_enter_says_done_once_and_leaves_time_for_the_space_bar() -> None:
    keys = HeldKeys()
    keys.feed(b"  ", 0)
    keys.feed(b"\r", 100 * MS)
    keys.feed(b"\r", 150 * MS)  # it repeats while it is held
    assert keys.answers == 1 and keys.held(500 * MS)
    keys.feed(b" ", 500 * MS)
    keys.feed(b"\n", 900 * MS)
    assert keys.answers == 2


def test_a_wired_dead_man_that_falls_silent_is_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "button"
    os.mkfifo(path)
    far = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    button = ButtonDeadman(str(path))
    try:
        assert button.look(0) == (False, 0)
        os.write(far, b"RUN 1\nRUN 2\n")
        assert button.look(MS) == (True, 0) and button.look(200 * MS) == (True, 0)
        assert button.look(300 * MS) == (False, 0)
        os.write(far, b"RUN 3\nSTOP\n")
        assert button.look(301 * MS) == (False, 0)
    finally:
        button.close()
        os.close(far)


def test_a_dead_man_is_named_by_kind_and_place() -> None:
    assert parse_deadman("keyboard") == ("keyboard", None)
    assert parse_deadman("gamepad:/dev/input/event3") == ("gamepad", "/dev/input/event3")
    assert remote_masks("remote") == (1, 1 << 8) and remote_masks("remote:L1")[0] == 2
    for text in ("button", "keyboard:x", "remote:Z", "hand", "gamepad:"):
        with pytest.raises(Refused, match="--deadman"):
            parse_deadman(text)


@pytest.mark.parametrize(("words", "said"), [
    (["--robot", "g1", "--interface", "lo"], "--deadman"),
    (["--robot", "dds"], "--deadman"),
    (["--robot", "dds", "--deadman", "remote", "--yes"], "--yes"),
    (["--robot", "dds", "--deadman", "remote", "--lockstep"], "--lockstep"),
    (["--robot", "g1", "--deadman", "remote"], "--interface"),
    (["--yes", "--deadman", "keyboard"], "simulated time"),
])
def test_a_robot_that_may_be_real_needs_a_hand(words: list[str], said: str, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "joint-zero", "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_would_move_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["calibrate", "joint-zero", "--robot", "g1", "--interface", "lo", "--dry-run", "--joints", ANKLE,
                 "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert code == 0 and "1 joints" in said and "rad/s" in said and "min" in said
    assert not (tmp_path / "out").exists()


def test_everything_that_ends_a_routine_fits_into_20_ms() -> None:
    limits = enclose("g1_29dof", BringUp.envelope).limits
    assert max(limits.state_damp_s, limits.state_hold_s, LOST_S, TARGET_S) + 2 * 0.002 <= 0.020
    assert RunSettings.log == "log.mcap" and STRONG_TICKS * 0.002 + 2 * 0.002 <= 0.020


def test_a_hot_motor_ends_a_routine_before_the_gates_filtered_look() -> None:
    bench = Bench(G1, 0.002)
    bench.temperature_c[:] = 40
    for _ in range(3):
        bench.temperature_c[18] = 130
        bench.look_for_heat()
        bench.temperature_c[18] = 0  # one false reading, either way
        bench.look_for_heat()
    bench.temperature_c[18] = 130
    with pytest.raises(Stopped, match=ELBOW):
        for _ in range(STRONG_TICKS):
            bench.look_for_heat()


def test_an_obstacle_at_the_edge_of_what_is_expected_is_one_in_spite_of_noise() -> None:
    """A quarter of the ticks below the limit gives no rest; half of them is no pressing."""
    motor = next(row.motor for row in G1.joints if row.name == ELBOW)
    strong = 1.01 * USUAL_TORQUE * next(row.effort_n_m for row in G1.joints if row.name == ELBOW)
    bench = Bench(G1, 0.002)
    for tick in range(100):
        bench.state.tau[motor] = strong if tick % 2 else 0.0
        bench.look_for_obstacles()
    with pytest.raises(Stopped, match=ELBOW):
        for tick in range(10):
            bench.state.tau[motor] = strong if tick % 4 else 0.0
            bench.look_for_obstacles()


# ---- the recording, and an interrupted routine


def recorded(*names: str) -> Rows:
    """Stretches of two rows each; `!NAME` finishes a step."""
    bench, rows = Bench(G1, 0.002), []
    bench.sink = rows.append
    for at, name in enumerate(names):
        if name.startswith("!"):
            bench.finish(name[1:])
            continue
        bench.begin(name)
        for tick in range(2):
            bench.state.record["sequence"] = tick
            bench.target[0, 0] = at
            bench.record(1000 * at + tick)
        bench.end()
    return np.frombuffer(b"".join(rows), bench._row.dtype)


def test_a_recording_is_read_back_with_its_stretches_and_steps() -> None:
    recording, steps = split(recorded("touch/a", "!a", "touch/b", "touch/b", "!b"))
    assert steps == ["a", "b"] and list(recording.stretches) == ["touch/a", "touch/b"]
    assert recording.of("touch/b")["target"][:, 0, 0].tolist() == [3, 3]  # the newest of a name


def test_lost_records_are_noticed() -> None:
    rows = recorded("touch/a", "!a", "touch/b")
    with pytest.raises(Refused, match="1 lost"):
        split(np.delete(rows, 1))


def test_of_an_interrupted_part_finished_steps_count_and_nothing_else() -> None:
    first = split(finished_part(recorded("touch/a", "!a", "touch/b")))[0]
    second = split(recorded("touch/b", "!b", "!*"))[0]
    assert list(first.stretches) == ["touch/a"]
    both = joined([first, second])
    assert both.of("touch/a")["target"][:, 0, 0].tolist() == [0, 0]
    assert both.of("touch/b")["target"][:, 0, 0].tolist() == [0, 0] and len(both.rows) == 4


def test_a_folder_goes_on_only_with_what_was_interrupted_there(tmp_path: Path) -> None:
    from runtime.log_file import LogWriter

    rows = recorded("touch/a", "!a")
    assert parts.begin(tmp_path, {"routine": "x"}) == []
    log = LogWriter(tmp_path / "raw.mcap", {})
    log.add_channel("routine", rows.dtype)
    for row in rows:
        log.write("routine", row.tobytes())
    log.flush()
    with pytest.raises(Refused, match="interrupted"):
        parts.begin(tmp_path, {"routine": "y"})
    assert parts.begin(tmp_path, {"routine": "x"}) == [tmp_path / "raw-1.mcap"]
    assert parts.begin(tmp_path, {"routine": "x"}) == [tmp_path / "raw-1.mcap"]  # killed before it recorded anything
    assert parts.order_in(tmp_path) == {"routine": "x"}
    parts.end(tmp_path, {"routine": "x"})
    with pytest.raises(Refused, match="has ended"):
        parts.order_in(tmp_path)
    assert parts.begin(tmp_path, {"routine": "y"}) == []
    log.close()


def test_an_interrupted_joint_zero_goes_on_with_the_joints_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    joints = (ANKLE, "right_ankle_roll_joint")
    (tmp_path / "truth.json").write_text(json.dumps({"schema": "exoactor-truth/1", "joints": {
        joints[0]: {"encoder_offset_rad": 0.05}, joints[1]: {"encoder_offset_rad": -0.03}}}))
    words = ["calibrate", "joint-zero", "--joints", ",".join(joints), "--truth", str(tmp_path / "truth.json"),
             "--yes", "--out", str(tmp_path / "out")]
    whole = CalibrationRun.tick

    def tick(run: CalibrationRun) -> None:
        if run.conductor.bench.finished:
            raise KeyboardInterrupt
        whole(run)

    monkeypatch.setattr(CalibrationRun, "tick", tick)
    assert main(words) == 130
    monkeypatch.setattr(CalibrationRun, "tick", whole)
    capsys.readouterr()
    assert main(["calibrate", "--resume", str(tmp_path / "out"), "--yes"]) == 0
    said = capsys.readouterr().out
    assert f"{joints[1]}: 2 of 2" in said and f"{joints[0]}: 1 of 2" not in said
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = {row["key"]: row["value"] for row in report["values"]}
    assert found[f"joints.{joints[0]}.encoder_offset_rad"] == pytest.approx(0.05, abs=0.01)
    assert found[f"joints.{joints[1]}.encoder_offset_rad"] == pytest.approx(-0.03, abs=0.01)
    assert [part["raw"] for part in report["parts"]] == ["raw-1.mcap"]


# ---- bring-up


def brought_up(*joints: str, **truth: Any) -> Found:
    routine = BringUp()
    robot = enclose("g1_29dof", routine.envelope)
    routine.prepare(robot, joints, np.zeros(robot.motors))
    run = CalibrationRun(routine, robot, SimulatedRobot(hangs=True, truth=read_truth(
        {"schema": "exoactor-truth/1", "noise": {"q_rad": 2e-4}, **truth})))
    run.run(200)
    assert run.conductor.is_done, run.conductor.stopped
    return routine.fit(run.conductor.bench.recording())


def bad(found: Found) -> list[str]:
    return [verdict.name for verdict in found.verdicts if not verdict.ok]


def test_a_healthy_robot_is_brought_up_and_its_firmware_holds() -> None:
    found = brought_up(ELBOW, WRIST)
    assert bad(found) == []
    assert found.facts["of_this_robot"]["when_commands_stop"] == "holds the last command"


def test_firmware_that_lets_go_and_an_imu_askew_are_told() -> None:
    found = brought_up(WRIST, delay={"let_go_s": 0.05}, imu={"accel_bias_m_s2": [3.0, 0, 0]})
    assert found.facts["of_this_robot"]["when_commands_stop"] == "lets go"
    assert "IMU against gravity" in bad(found)


def test_a_report_is_signed_line_by_line_by_somebody_with_a_name(tmp_path: Path) -> None:
    words = ["calibrate", "bring-up", "--joints", WRIST, "--yes", "--file", str(tmp_path / "cal.json"),
             "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert main([*words, "--operator", "Ada"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    signed = report["facts"]["signed"]
    assert signed["by"] == "Ada" and set(signed["lines"]) == {row["name"] for row in report["verdicts"]}
    record = json.loads((tmp_path / "cal.json").read_text())["versions"][-1]["records"][-1]
    assert record["facts"]["when_commands_stop"] == "holds the last command"
