"""Golden traces: recorded state in, the same observation, action and target out, tick by tick.

Closed-loop runs do not notice a reversed history or a wrong look-ahead; these do. The traces are of other people's
deployments (docs/controllers.md names them). Tolerances: 1e-5 on observations (float32 against float64 trigonometry),
1e-4 on actions (another CPU's matrix kernels).
"""

from __future__ import annotations

import numpy as np
import pytest

from runtime.clip import load_clip
from runtime.controller import Controller, idle_frame
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.reference import ClipReference, ReferenceFrame
from runtime.state import RobotState
from tests.shared_data import shared_data

OBSERVATION_TOLERANCE = 1e-5
ACTION_TOLERANCE = 1e-4
IDLE_TICKS, BLEND_TICKS = 50, 25


def _state(golden: dict[str, np.ndarray], tick: int) -> RobotState:
    state = RobotState(29)
    state.q[:] = golden["q"][tick]
    state.dq[:] = golden["dq"][tick]
    state.quat_wxyz[:] = golden["quat_wxyz"][tick]
    state.gyro[:] = golden["gyro"][tick]
    return state


def _check(controller: Controller, golden: dict[str, np.ndarray], tick: int) -> None:
    observed = controller.observations[0][0].values
    worst = int(np.argmax(np.abs(observed - golden["obs"][tick])))
    assert abs(observed[worst] - golden["obs"][tick][worst]) <= OBSERVATION_TOLERANCE, f"tick {tick}, entry {worst}"
    np.testing.assert_allclose(controller.action, golden["action"][tick], atol=ACTION_TOLERANCE, err_msg=f"{tick}")
    np.testing.assert_allclose(controller.target[:, 0], golden["target"][tick], atol=ACTION_TOLERANCE)


def test_twist2_trace_is_reproduced_from_state_and_clip() -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    golden = dict(np.load(shared_data("golden/twist2_20k_walk001.npz"), allow_pickle=False))
    manifest = load_manifest("twist2")
    controller = Controller(manifest, Model(shared_data("policies/twist2_1017_20k.onnx")))
    clip = load_clip(shared_data("motions/twist2_walk_001.npz"), manifest.robot)
    reference = ClipReference(clip, manifest.order)
    idle, start = idle_frame(manifest), ReferenceFrame(29)
    reference.sample(0.0, start)
    for tick in range(len(golden["obs"])):
        for offset, frame in zip(controller.window.offsets, controller.window.frames, strict=True):
            if tick < IDLE_TICKS:
                frame.copy_from(idle)
            elif tick < IDLE_TICKS + BLEND_TICKS:
                frame.blend(idle, start, (tick - IDLE_TICKS) / BLEND_TICKS)
            else:
                reference.sample((tick - IDLE_TICKS - BLEND_TICKS + offset) / manifest.rate_hz, frame)
        controller.tick(_state(golden, tick))
        _check(controller, golden, tick)


def test_holosoma_trace_is_reproduced_from_state_and_command() -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    golden = dict(np.load(shared_data("golden/holosoma_loco_ppo_vx05.npz"), allow_pickle=False))
    controller = Controller(load_manifest("holosoma-velocity"), Model(shared_data("policies/ppo_g1_29dof.onnx")))
    for tick in range(len(golden["obs"])):
        controller.inputs.command[:] = golden["cmd"][tick]
        controller.tick(_state(golden, tick))
        _check(controller, golden, tick)
    np.testing.assert_allclose(controller.manifest.kp, golden["kp"], rtol=1e-6)
    np.testing.assert_allclose(controller.manifest.kd, golden["kd"], rtol=1e-6)
