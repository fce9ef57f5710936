"""A motion inside the network: its rows, how a run plays them, and what the network is told meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("yaml", reason="missing dependency: yaml")

from export.bundle_signing import new_golden_vectors
from export.manifest_command import make_draft
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.faults import Mode
from runtime.golden import replay
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from runtime.model_reference import ModelReference
from runtime.pilot import Phase, Pilot
from runtime.policy import Policy
from runtime.robot import load_robot
from runtime.settings import RunSettings
from runtime.state import RobotState
from tests.tracker_networks import Motion, beyond_mimic, holosoma_tracker, make_motion

G1 = load_robot("g1_29dof")
NAMES = list(G1.order.names)


def manifest_for(folder: Path, model: Path, **reference: Any) -> Path:
    """The manifest that the export writes for a network, with changes to its `reference`."""
    draft = make_draft(model, None, None, "tracker", 50.0)
    draft.data["reference"].update(reference)
    path = folder / "controller.json"
    path.write_text(draft.text(), encoding="utf-8")
    return path


def opened(folder: Path, motion: Motion, *, network: dict[str, Any] | None = None, **reference: Any
           ) -> tuple[Manifest, Controller]:
    model = holosoma_tracker(folder / "policy.onnx", motion, NAMES, **(network or {}))
    manifest = load_manifest(str(manifest_for(folder, model, **reference)))
    return manifest, Controller(manifest, Model(model))


def reference_of(folder: Path, motion: Motion, **settings: Any) -> ModelReference:
    manifest, controller = opened(folder, motion, **settings)
    assert manifest.embedded is not None
    return ModelReference(controller, manifest.embedded)


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 65, 200])
def test_the_table_ends_where_its_rows_stop_changing(tmp_path: Path, rows: int) -> None:
    reference = reference_of(tmp_path, make_motion(rows, 29))
    assert reference.rows == rows


def test_rows_that_repeat_the_last_one_are_its_end(tmp_path: Path) -> None:
    assert reference_of(tmp_path, make_motion(100, 29, still=20)).rows == 80


def test_a_pause_in_the_last_pose_is_not_the_end(tmp_path: Path) -> None:
    motion = make_motion(200, 29)
    for table in (motion.joint_pos, motion.joint_vel, motion.body_pos, motion.body_quat):
        table[60:70] = table[-1]
    assert reference_of(tmp_path, motion).rows == 200


def test_a_table_that_is_not_clamped_ends_where_the_network_refuses(tmp_path: Path) -> None:
    reference = reference_of(tmp_path, make_motion(37, 29), network={"clamped": False})
    assert reference.rows == 37


def test_the_frames_are_the_networks_rows(tmp_path: Path) -> None:
    motion = make_motion(50, 29)
    manifest, controller = opened(tmp_path, motion)
    assert manifest.embedded is not None
    reference, frame = ModelReference(controller, manifest.embedded), controller.window.new_frame()
    reference.sample(0.4, frame)  # tick 20 shows row 19
    np.testing.assert_array_equal(frame.joint_pos, motion.joint_pos[19])
    np.testing.assert_array_equal(frame.joint_vel, motion.joint_vel[19])
    assert np.isnan(frame.root_pos[2])  # holosoma says where the torso is, not the pelvis
    reference.sample(99.0, frame)
    np.testing.assert_array_equal(frame.joint_pos, motion.joint_pos[-1])
    reference.sample(-1.0, frame)
    np.testing.assert_array_equal(frame.joint_pos, motion.joint_pos[0])


def test_reading_the_table_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    manifest, controller = opened(tmp_path, make_motion(20, 29))
    assert manifest.embedded is not None
    ModelReference(controller, manifest.embedded)
    assert not any(array.any() for array in (*controller.model.inputs.values(), *controller.model.outputs.values()))


def test_a_base_among_the_bodies_gives_the_height(tmp_path: Path) -> None:
    motion = make_motion(20, 29)
    model = beyond_mimic(tmp_path / "policy.onnx", motion, NAMES, np.zeros(29))
    manifest = load_manifest(str(manifest_for(tmp_path, model)))
    controller = Controller(manifest, Model(model))
    assert manifest.embedded is not None
    frame = controller.window.new_frame()
    ModelReference(controller, manifest.embedded).sample(0.1, frame)
    assert frame.root_pos[2] == motion.body_pos[5, 0, 2]  # tick 5; lag 0 shows the row of the tick


@pytest.mark.parametrize(("change", "found"), [
    ({"network": {"leaks": True}}, "another observation"),
    ({"joint_pos": "no_such"}, "no_such"),
    ({"time_step": "no_such"}, "inputs obs"),
    ({"quat": "joint_pos"}, "29"),
    ({"bodies": ["pelvis", "left_foot"], "quat": "ref_quat_xyzw"}, "output ref_quat_xyzw of 8"),
])
def test_a_network_that_is_not_what_the_manifest_says_is_refused(
    tmp_path: Path, change: dict[str, Any], found: str
) -> None:
    with pytest.raises(Refused) as refused:
        reference_of(tmp_path, make_motion(20, 29), **change)
    assert found in str(refused.value)


@pytest.mark.parametrize(("reference", "found"), [
    ({"source": "model"}, "quat_order"),
    ({"source": "model", "quat_order": "zyxw"}, "quat_order"),
    ({"source": "model", "quat_order": "wxyz", "lag": 2}, "lag"),
    ({"source": "model", "quat_order": "wxyz", "body": "head"}, "pelvis, torso_link"),
    ({"source": "model", "quat_order": "wxyz", "start": "here"}, "start"),
    ({"source": "model", "quat_order": "wxyz", "bodies": ["pelvis", "pelvis"]}, "each name once"),
    ({"source": "stream"}, "source"),
    ({"lag": 1}, '"source": "model"'),
])
def test_a_reference_section_that_makes_no_sense_is_refused(
    tmp_path: Path, reference: dict[str, Any], found: str
) -> None:
    model = holosoma_tracker(tmp_path / "policy.onnx", make_motion(5, 29), NAMES)
    data = json.loads(manifest_for(tmp_path, model).read_text("utf-8"))
    data["reference"] = reference
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(Refused) as refused:
        load_manifest(str(path))
    assert found in str(refused.value)


def test_terms_that_the_rows_cannot_feed_are_refused(tmp_path: Path) -> None:
    model = holosoma_tracker(tmp_path / "policy.onnx", make_motion(5, 29), NAMES)
    data = json.loads(manifest_for(tmp_path, model).read_text("utf-8"))
    terms = data["inputs"][0]["blocks"][0]["terms"]
    terms[2] = {"term": "ref_root_ang_vel", "label": "motion_ref_ori_b", "frames": [0, 1]}
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    manifest = load_manifest(str(path))
    controller = Controller(manifest, Model(model))
    assert manifest.embedded is not None
    with pytest.raises(Refused, match="ref_root_ang_vel"):
        ModelReference(controller, manifest.embedded)


class Watched:
    """A pilot on a network whose every call is written down."""

    def __init__(self, folder: Path, motion: Motion, **reference: Any) -> None:
        self.motion = motion
        self.manifest, self.controller = opened(folder, motion, **reference)
        assert self.manifest.embedded is not None
        source = ModelReference(self.controller, self.manifest.embedded)
        self.pilot = Pilot(self.controller, source, source.play_s)
        self.state = RobotState(29)
        self.steps: list[float] = []
        self.shown: list[np.ndarray] = []
        self.given: list[np.ndarray] = []
        self.phases: list[Phase] = []
        run = self.controller.model.run

        def watched() -> None:
            model = self.controller.model
            self.shown.append(model.inputs["obs"][0, 90:148].copy())  # motion_command of the sorted terms
            run()
            self.steps.append(float(model.inputs["time_step"].item()))
            self.given.append(np.concatenate([model.outputs["joint_pos"][0], model.outputs["joint_vel"][0]]))

        self.controller.model.run = watched  # type: ignore[method-assign]

    def track(self, ticks: int) -> None:
        for _ in range(ticks):
            self.pilot.tick(Mode.TRACK, self.state)
            self.phases.append(self.pilot.phase)


def test_the_observation_shows_what_the_call_before_gave(tmp_path: Path) -> None:
    """holosoma's order: one tick of lag, primed with row 0."""
    run = Watched(tmp_path, make_motion(40, 29), settle_s=0.2)
    run.track(60)
    np.testing.assert_array_equal(run.shown[0], run.given[0])  # primed
    np.testing.assert_array_equal(run.shown[1:51], run.given[:50])
    assert run.steps[:10] == [0] * 10
    assert run.steps[10:50] == list(range(40))
    assert run.phases[:10] == [Phase.SETTLE] * 10
    assert run.phases[10:51] == [Phase.PLAY] * 41  # 40 rows and the tick of lag


def test_without_lag_the_row_asked_for_before_the_first_tick_is_shown_first(tmp_path: Path) -> None:
    """motion_tracking_controller's order: it asks for row 0 when it resets, then for row 1 at its first tick."""
    run = Watched(tmp_path, make_motion(30, 29), lag=0, settle_s=0)
    run.track(30)
    rows = np.concatenate([run.motion.joint_pos, run.motion.joint_vel], axis=1)
    np.testing.assert_array_equal(np.array(run.shown), rows)
    assert run.steps == [*range(1, 30), 29]
    assert set(run.phases) == {Phase.PLAY}


def test_after_the_motion_its_last_row_is_held_at_rest(tmp_path: Path) -> None:
    run = Watched(tmp_path, make_motion(20, 29), settle_s=0)
    run.track(20 + 1 + 40)
    assert run.phases[21] is Phase.BLEND_OUT
    np.testing.assert_array_equal(run.shown[-1][:29], run.motion.joint_pos[-1])
    assert not run.shown[-1][29:].any()
    assert run.steps[-1] == 19


def test_a_motion_may_be_left_for_standing(tmp_path: Path) -> None:
    run = Watched(tmp_path, make_motion(20, 29), settle_s=0, after="stand")
    run.track(20 + 1 + 60)
    np.testing.assert_allclose(run.shown[-1][:29], run.manifest.default_pose, atol=1e-6)


def test_a_hold_freezes_the_row_come_to(tmp_path: Path) -> None:
    run = Watched(tmp_path, make_motion(100, 29), settle_s=0)
    run.track(30)
    for _ in range(20):
        run.pilot.tick(Mode.HOLD, run.state)
    np.testing.assert_array_equal(run.shown[-1][:29], run.shown[29][:29])
    assert run.steps[-1] == run.steps[29]


@pytest.mark.parametrize(("start", "expected"), [("default_pose", "pose"), ("reference", "row")])
def test_the_ramp_goes_where_the_manifest_says(tmp_path: Path, start: str, expected: str) -> None:
    run = Watched(tmp_path, make_motion(30, 29), start=start)
    run.state.q[:] = 0.1
    for _ in range(200):
        target = run.pilot.tick(Mode.READY, run.state)
    assert run.pilot.phase is Phase.READY
    wanted = run.manifest.default_pose if expected == "pose" else run.motion.joint_pos[0]
    np.testing.assert_allclose(target[:, 0], wanted, atol=1e-6)
    assert not run.steps, "the network is not asked while the robot ramps"


def settings(controller: Path, model: Path, **changes: Any) -> RunSettings:
    return RunSettings(**{
        "controller": str(controller), "robot": "g1_29dof", "model": str(model), "clip": None,
        "command": (0.0, 0.0, 0.0), "duration_s": None, "target": "sim", "domain": 0, "interface": None, "peers": (),
        "out": "", **changes,
    })


def test_a_policy_plays_the_whole_motion_or_as_long_as_told(tmp_path: Path) -> None:
    model = holosoma_tracker(tmp_path / "policy.onnx", make_motion(100, 29), NAMES)
    manifest = manifest_for(tmp_path, model)
    for duration, ticks in ((None, 101), (0.5, 25)):
        policy = Policy(settings(manifest, model, duration_s=duration))
        state = RobotState(29)
        for k in range(300):
            policy.tick(Mode.TRACK, state, k)
            if policy.pilot.phase is Phase.BLEND_OUT:
                break
        assert k == 50 + ticks


@pytest.mark.parametrize("changes", [{"clip": "walk.npz"}, {"command": (0.5, 0.0, 0.0)}])
def test_nothing_else_to_follow_is_taken(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = holosoma_tracker(tmp_path / "policy.onnx", make_motion(20, 29), NAMES)
    with pytest.raises(Refused, match="inside the network"):
        Policy(settings(manifest_for(tmp_path, model), model, **changes))


def test_golden_vectors_of_a_short_motion_stay_within_it(tmp_path: Path) -> None:
    """A network that is not clamped refuses a row beyond its last, at the export and at every load."""
    _, controller = opened(tmp_path, make_motion(5, 29), network={"clamped": False})
    arrays = new_golden_vectors(controller)
    _, again = opened(tmp_path, make_motion(5, 29), network={"clamped": False})
    assert all(worst.error <= worst.limit for worst in replay(again, arrays).values())
