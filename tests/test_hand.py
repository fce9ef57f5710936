"""A pair of hands as data: what ships, what the mirror means, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.dex3 import HAND_CMD, HAND_STATE, HAND_STATE_HEAD, HandDecoder, HandEncoder
from firmware_bridge.hand_bus import LEFT, RIGHT, HandCommand, HandSample
from runtime.errors import Refused
from runtime.hand import HANDS, hand_names, load_hand

DEX3 = load_hand("dex3-1")


def test_the_shipped_hand_closes_to_the_middle_of_each_range() -> None:
    """As SONIC's deployment and Unitree's own example grip; open is zero."""
    assert hand_names() == ["dex3-1", "inspire-rh56"]
    assert not DEX3.states_rad[0].any()
    middle = (DEX3.lower_rad + DEX3.upper_rad) / 2
    assert np.abs(DEX3.states_rad[2] - middle).max() < 0.01
    assert np.allclose(DEX3.states_rad[1], DEX3.states_rad[2] / 2, atol=1e-4)


def test_fingers_of_the_left_hand_close_the_other_way_than_those_of_the_right() -> None:
    fingers = [i for i, name in enumerate(DEX3.joints) if "thumb" not in name]
    assert (DEX3.states_rad[2, LEFT, fingers] < -0.5).all()
    assert (DEX3.states_rad[2, RIGHT, fingers] > 0.5).all()
    assert (DEX3.states_rad[:, RIGHT] == -DEX3.states_rad[:, LEFT]).all()


def test_a_left_pose_sent_to_the_right_hand_leaves_its_range() -> None:
    """What makes the mirror trap visible: an unmirrored grip cannot pass for one."""
    wrong = DEX3.states_rad[2, LEFT]
    assert ((wrong < DEX3.lower_rad[RIGHT] - 0.1) | (wrong > DEX3.upper_rad[RIGHT] + 0.1)).sum() >= 5


def spoilt(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    data = json.loads((HANDS / "dex3_1.json").read_text("utf-8"))
    change(data)
    path = tmp_path / "hand.json"
    path.write_text(json.dumps(data), "utf-8")
    return path


def joint(row: int, column: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data["joints"][row][data["joint_columns"].index(column)] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (joint(3, "mirror", 1), "middle_0.mirror"),
        (joint(1, "right_upper_rad", 1.05), "thumb_1.mirror"),
        (joint(2, "mirror", 0.5), "1 or -1"),
        (joint(5, "closed_rad", 0.3), "within its ranges"),
        (joint(5, "upper_rad", -1.57), "lower below upper"),
        (joint(0, "effort_n_m", 0), "above 0"),
        (joint(0, "velocity_rad_s", "fast"), "velocity_rad_s"),
        (joint(1, "name", "thumb_0"), "each name once"),
        (lambda data: data["joints"][0].append(1), r"joints\[0\]"),
        (lambda data: data["joint_columns"].reverse() or data["joint_columns"].pop(), "joint_columns"),
        (lambda data: data.pop("sources"), "missing sources"),
        (lambda data: data.update(grip=1), "unknown grip"),
        (lambda data: data.update(on_damp="drop"), "keep, open"),
        (lambda data: data.update(kept_kp=9.0), "at most kp"),
        (lambda data: data.update(cool_c=100), "at most hot_c"),
        (lambda data: data.update(move_s=0), "move_s"),
        (lambda data: data.update(format="exoactor-hand/2"), "exoactor-hand/1"),
    ],
)
def test_a_hand_that_cannot_be_is_refused(tmp_path: Path, change: Any, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint):
        load_hand(str(spoilt(tmp_path, change)))


@pytest.mark.parametrize("name", ["dex4", "", "x" * 5000, "."])
def test_a_hand_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(Refused, match="dex3-1"):
        load_hand(name)


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["joint_columns"].reverse()
        for row in data["joints"]:
            row.reverse()

    assert (load_hand(str(spoilt(tmp_path, change))).states_rad == DEX3.states_rad).all()


def test_a_command_and_a_sample_have_a_row_for_each_hand() -> None:
    command, sample = HandCommand(7), HandSample.zeros(7)
    assert command.block.shape == (2, 7, 5)
    assert command.block.dtype == np.float32
    assert {sample.q.shape, sample.temperature_c.shape, sample.motor_error.shape} == {(2, 7)}


def test_messages_of_a_dex3_lie_where_their_sequences_put_them() -> None:
    """XCDR1: the length, then elements without padding between them; unlike in a LowCmd, all distances are even."""
    for layout, array, stride, size in ((HAND_CMD, "motor_cmd", 28, 216), (HAND_STATE_HEAD, "motor_state", 56, 396)):
        assert layout.offset("count") == 0
        assert layout.offsets(f"{array}.mode").tolist() == [4 + stride * i for i in range(7)]
        assert layout.offsets(f"{array}.q").tolist() == [8 + stride * i for i in range(7)]
        assert layout.size == size
    assert HAND_STATE.offset("sensors") == HAND_STATE_HEAD.size


def test_a_hand_obeys_whole_commands_only() -> None:
    buffer, out = HAND_CMD.empty(), np.zeros((7, 5), np.float32)
    encoder, decoder = HandEncoder(buffer), HandDecoder(buffer)
    command = HandCommand(7)
    command.block[RIGHT] = np.arange(35).reshape(7, 5)
    encoder.encode(RIGHT, command)
    assert buffer[HAND_CMD.offsets("motor_cmd.mode")].tolist() == [i | 1 << 4 | 1 << 7 for i in range(7)]
    assert decoder.decode(out)
    assert (out == command.block[RIGHT]).all()
    command.enabled[RIGHT] = False
    encoder.encode(RIGHT, command)
    assert decoder.decode(out)
    assert not out.any()
    modes, count = HAND_CMD.view(buffer, "motor_cmd.mode"), HAND_CMD.view(buffer, "count")
    for spoil in (lambda: modes.__setitem__(3, 2 | 1 << 4), lambda: modes.__setitem__(0, 0),
                  lambda: count.__setitem__(0, 6),
                  lambda: HAND_CMD.view(buffer, "motor_cmd.kp").__setitem__(1, np.nan)):
        encoder.encode(LEFT, command)
        spoil()
        assert not decoder.decode(out)
        count[0], HAND_CMD.view(buffer, "motor_cmd.kp")[1] = 7, 0
