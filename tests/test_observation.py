"""Observations against a deliberately naive implementation: lists rebuilt at each tick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime.controller import Controller
from runtime.manifest import CONTROLLERS
from runtime.manifest_reader import load_manifest
from runtime.rotation import quat_from_rpy
from runtime.state import RobotState
from tests.stub_model import StubModel

F32 = npt.NDArray[np.float32]
N = 29
BASE = json.loads((CONTROLLERS / "holosoma-velocity.json").read_text("utf-8"))
JOINTS = BASE["joints"]
POSE = np.array(BASE["default_pose"], np.float32)
FRAMES = [-1, 0, 3]


class Naive:
    """The same observation, without any cleverness."""

    def __init__(self, blocks: list[dict[str, Any]]) -> None:
        self.blocks = blocks
        self.reset()

    def reset(self) -> None:
        self.terms: dict[tuple[int, int], list[F32]] = {}
        self.frames: dict[int, list[F32]] = {}

    def tick(self, values: dict[str, F32]) -> F32:
        for j, block in enumerate(self.blocks):
            if "terms" in block:
                self.frames.setdefault(j, []).append(self.frame(j, block, values))
        out = []
        for j, block in enumerate(self.blocks):
            if "past_of" in block:
                (source,) = [i for i, other in enumerate(self.blocks) if other.get("name") == block["past_of"]]
                out.append(self.lay(self.frames[source][:-1], block, self.frames[source][0]))
            else:
                frames = self.frames[j]
                out.append(self.lay(frames, block.get("history", {"length": 1}), frames[0]))
        return np.concatenate(out)

    def frame(self, j: int, block: dict[str, Any], values: dict[str, F32]) -> F32:
        order = list(range(len(block["terms"])))
        if block.get("sort") == "label":
            order.sort(key=lambda k: block["terms"][k].get("label", block["terms"][k]["term"]))
        out = []
        for k in order:
            term = block["terms"][k]
            past = self.terms.setdefault((j, k), [])
            past.append(self.one(term, values))
            out.append(self.lay(past, term.get("history", {"length": 1}), past[0]))
        return np.concatenate(out)

    @staticmethod
    def one(term: dict[str, Any], values: dict[str, F32]) -> F32:
        if term["term"] == "constant":
            value = np.atleast_1d(np.array(term["value"], np.float32))
        elif term["term"].startswith("ref_"):
            value = np.concatenate([values[f"{term['term']} {k}"] for k in term.get("frames", [0])])
        else:
            value = values[term["term"]]
        value = np.array(value, np.float32)
        if "clip" in term:
            value = np.clip(value, *np.array(term["clip"], np.float32))
        value = value * np.array(term.get("scale", 1.0), np.float32)
        for name in term.get("zero_joints", []):
            value[JOINTS.index(name)] = 0
        return np.asarray(value, np.float32)

    @staticmethod
    def lay(past: list[F32], history: dict[str, Any], first: F32) -> F32:
        missing = first if history.get("fill") == "repeat" else np.zeros_like(first)
        rows = ([missing] * history["length"] + past)[-history["length"] :]
        return np.concatenate(rows[::-1] if history.get("order") == "newest_first" else rows)


def write(folder: Path, blocks: list[dict[str, Any]]) -> str:
    (folder / "controller.json").write_text(json.dumps({**BASE, "inputs": [{"blocks": blocks}]}), encoding="utf-8")
    return str(folder)


def controller_for(folder: Path, blocks: list[dict[str, Any]], size: int) -> Controller:
    rng = np.random.default_rng(7)

    def think(model: StubModel) -> None:
        model.outputs["action"][0] = rng.normal(size=N)

    return Controller(load_manifest(write(folder, blocks)), StubModel({"obs": size}, {"action": N}, think))


def gravity(quat: F32) -> F32:
    w, x, y, z = (float(part) for part in quat)
    R_wb = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])
    return np.asarray(R_wb.T @ [0, 0, -1], np.float32)


class World:
    """Random states, commands and references, and what each term should make of them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.state = RobotState(N)
        self.command = np.zeros(3, np.float32)
        self.last_action = np.zeros(N, np.float32)

    def move(self, controller: Controller) -> dict[str, F32]:
        rng, state = self.rng, self.state
        state.q[:], state.dq[:] = rng.normal(size=(2, N))
        quat = rng.normal(size=4)
        state.quat_wxyz[:] = quat / np.linalg.norm(quat)
        state.gyro[:], state.accel[:] = rng.normal(size=(2, 3))
        self.command[:] = rng.normal(size=3)
        controller.inputs.command[:] = self.command
        values = {
            "joint_pos": state.q.copy(), "joint_vel": state.dq.copy(), "joint_pos_rel": state.q - POSE,
            "base_ang_vel": state.gyro.copy(), "base_accel": state.accel.copy(),
            "base_quat_wxyz": state.quat_wxyz.copy(), "projected_gravity": gravity(state.quat_wxyz),
            "velocity_command": self.command.copy(), "velocity_command_xy": self.command[:2].copy(),
            "velocity_command_yaw": self.command[2:].copy(), "last_action": self.last_action.copy(),
        }
        for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
            frame.joint_pos[:], frame.root_pos[2] = rng.normal(size=N), rng.normal()
            frame.root_lin_vel[:] = rng.normal(size=3)
            values[f"ref_joint_pos {offset}"] = frame.joint_pos.astype(np.float32)
            values[f"ref_root_height {offset}"] = frame.root_pos[2:].astype(np.float32)
            values[f"ref_root_lin_vel {offset}"] = frame.root_lin_vel.astype(np.float32)
        return values


def compare(folder: Path, blocks: list[dict[str, Any]], seed: int = 0, ticks: int = 12, reset_at: int = 7) -> None:
    """Both implementations on the same random life, with a reset in the middle."""
    naive, world = Naive(blocks), World(seed)
    probe = Naive(blocks)
    size = len(probe.tick(_sizes()))
    controller = controller_for(folder, blocks, size)
    for tick in range(ticks):
        if tick == reset_at:
            naive.reset()
            controller.reset()
            world.last_action[:] = 0
        expected = naive.tick(world.move(controller))
        controller.tick(world.state)
        np.testing.assert_allclose(controller.observations[0][0].values, expected, atol=2e-6, err_msg=f"tick {tick}")
        world.last_action[:] = np.clip(controller.action, -100, 100)


def _sizes() -> dict[str, F32]:
    """Values of the right sizes."""
    sizes = {"joint_pos": N, "joint_vel": N, "joint_pos_rel": N, "last_action": N, "base_ang_vel": 3, "base_accel": 3,
             "base_quat_wxyz": 4, "projected_gravity": 3, "velocity_command": 3, "velocity_command_xy": 2,
             "velocity_command_yaw": 1}
    for offset in range(-5, 6):
        sizes |= {f"ref_joint_pos {offset}": N, f"ref_root_height {offset}": 1, f"ref_root_lin_vel {offset}": 3}
    return {name: np.zeros(size, np.float32) for name, size in sizes.items()}


ORDERS = ("oldest_first", "newest_first")
FILLS = ("zeros", "repeat")
PLAIN: list[dict[str, Any]] = [{"term": "joint_pos_rel"}, {"term": "base_ang_vel", "scale": 0.25}]


def history(length: int, order: str, fill: str) -> dict[str, Any]:
    return {"length": length, "order": order, "fill": fill}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_terms_own_history_stands_together(tmp_path: Path, length: int, order: str, fill: str) -> None:
    terms = [{**term, "history": history(length, order, fill)} for term in PLAIN]
    compare(tmp_path, [{"terms": [*terms, {"term": "last_action"}]}])


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_blocks_history_keeps_whole_frames(tmp_path: Path, length: int, order: str, fill: str) -> None:
    compare(tmp_path, [{"terms": PLAIN, "history": history(length, order, fill)}, {"terms": [{"term": "joint_vel"}]}])


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("first", [True, False])
def test_the_past_of_a_block_excludes_the_current_frame(tmp_path: Path, first: bool, order: str, fill: str) -> None:
    past = {"past_of": "frame", **history(3, order, fill)}
    blocks = [{"name": "frame", "terms": PLAIN}]
    compare(tmp_path, [past, *blocks] if first else [*blocks, past])


@pytest.mark.parametrize("block_fill", FILLS)
@pytest.mark.parametrize("term_fill", FILLS)
def test_histories_may_stand_within_histories(tmp_path: Path, term_fill: str, block_fill: str) -> None:
    terms = [{**PLAIN[0], "history": history(3, "newest_first", term_fill)}, PLAIN[1]]
    compare(tmp_path, [{"name": "a", "terms": terms, "history": history(2, "oldest_first", block_fill)},
                       {"past_of": "a", **history(2, "newest_first", block_fill)}])


def test_two_pasts_of_one_block_differ_only_in_their_layout(tmp_path: Path) -> None:
    compare(tmp_path, [{"name": "a", "terms": PLAIN}, {"past_of": "a", **history(2, "oldest_first", "zeros")},
                       {"past_of": "a", **history(4, "newest_first", "repeat")}])


def test_scales_clips_and_zeroed_joints(tmp_path: Path) -> None:
    compare(tmp_path, [{"terms": [
        {"term": "joint_pos", "scale": [0.1 * i for i in range(N)]},
        {"term": "joint_vel", "clip": [-0.5, 0.25], "scale": 3, "zero_joints": [JOINTS[4], JOINTS[20]]},
        {"term": "projected_gravity", "scale": [1, -2, 0.5], "history": {"length": 2}},
        {"term": "constant", "value": [3, 4]},
        {"term": "constant", "value": 5, "scale": 0.5},
    ]}])


def test_reference_frames_stand_in_the_order_asked_for(tmp_path: Path) -> None:
    compare(tmp_path, [{"terms": [
        {"term": "ref_joint_pos", "frames": [3, 0, -1]},
        {"term": "ref_root_height", "frames": FRAMES},
        {"term": "ref_root_lin_vel"},
    ]}])


def test_a_sorted_block_stands_in_the_order_of_labels(tmp_path: Path) -> None:
    compare(tmp_path, [{"sort": "label", "terms": [
        {"term": "joint_pos"}, {"term": "base_ang_vel", "label": "z"}, {"term": "joint_vel", "label": "a"},
    ]}])


def random_blocks(rng: np.random.Generator) -> list[dict[str, Any]]:
    def some_history() -> dict[str, Any]:
        return history(int(rng.integers(1, 5)), str(rng.choice(ORDERS)), str(rng.choice(FILLS)))

    def term() -> dict[str, Any]:
        name = str(rng.choice(["joint_pos", "joint_vel", "joint_pos_rel", "last_action", "base_ang_vel", "base_accel",
                               "base_quat_wxyz", "projected_gravity", "velocity_command", "velocity_command_xy",
                               "velocity_command_yaw", "ref_joint_pos", "ref_root_height"]))
        out: dict[str, Any] = {"term": name}
        if name.startswith("ref_"):
            out["frames"] = rng.choice(range(-2, 5), rng.integers(1, 4), replace=False).tolist()
        if rng.random() < 0.4:
            out["scale"] = float(rng.normal())
        if rng.random() < 0.3:
            out["clip"] = [-0.5, 0.7]
        if rng.random() < 0.4:
            out["history"] = some_history()
        if rng.random() < 0.3:
            out["label"] = str(rng.integers(100))
        return out

    blocks: list[dict[str, Any]] = []
    for i in range(rng.integers(1, 4)):
        block: dict[str, Any] = {"name": f"block{i}", "terms": [term() for _ in range(rng.integers(1, 5))]}
        if rng.random() < 0.4:
            block["history"] = some_history()
        if rng.random() < 0.3:
            block["sort"] = "label"
        blocks.append(block)
    for _ in range(rng.integers(0, 3)):
        named = sum("name" in block for block in blocks)
        past = {"past_of": f"block{rng.integers(named)}", **some_history()}
        blocks.insert(int(rng.integers(len(blocks) + 1)), past)
    return blocks


@pytest.mark.parametrize("seed", range(60))
def test_any_layout_agrees_with_the_naive_one(tmp_path: Path, seed: int) -> None:
    compare(tmp_path, random_blocks(np.random.default_rng(seed)), seed)


def test_before_the_first_tick_all_is_zero_and_after_a_reset_again(tmp_path: Path) -> None:
    controller = controller_for(tmp_path, [{"terms": PLAIN, "history": {"length": 2}}], 64)
    values = controller.observations[0][0].values
    assert not values.any()
    World(1).move(controller)
    controller.tick(World(1).state)
    assert values.any()
    controller.reset()
    assert not values.any()


def test_the_table_says_where_each_term_stands(tmp_path: Path) -> None:
    blocks = [
        {"name": "frame", "terms": [{"term": "joint_pos"}, {"term": "base_ang_vel", "label": "turn", "scale": 0.25}]},
        {"past_of": "frame", "length": 2},
        {"terms": [{"term": "velocity_command", "history": {"length": 4}}]},
    ]
    observation = controller_for(tmp_path, blocks, 108).observations[0][0]
    assert [(row.label, row.start, row.size, row.note) for row in observation.rows] == [
        ("joint_pos", 0, 29, ""), ("turn", 29, 3, "x 0.25"), ("past of frame", 32, 64, "history 2"),
        ("velocity_command", 96, 12, "history 4"),
    ]


def test_the_phase_terms_show_sine_and_cosine_of_each_foot(tmp_path: Path) -> None:
    controller = controller_for(tmp_path, [{"terms": [{"term": "phase_sin"}, {"term": "phase_cos"}]}], 4)
    controller.inputs.command[0] = 0.5
    for tick in range(1, 60):
        controller.tick(RobotState(N))
        left, right = (2 * np.pi * tick / 50 + offset for offset in (0, np.pi))
        np.testing.assert_allclose(controller.observations[0][0].values,
                                   [np.sin(left), np.sin(right), np.cos(left), np.cos(right)], atol=1e-5)


def test_euler_angles_of_the_base_are_roll_pitch_and_yaw(tmp_path: Path) -> None:
    controller = controller_for(tmp_path, [{"terms": [{"term": "roll_pitch_yaw"}, {"term": "roll_pitch"}]}], 5)
    state = RobotState(N)
    state.quat_wxyz[:] = quat_from_rpy(0.1, -0.2, 2.5)
    controller.tick(state)
    np.testing.assert_allclose(controller.observations[0][0].values, [0.1, -0.2, 2.5, 0.1, -0.2], atol=1e-6)
