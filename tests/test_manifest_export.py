"""Manifests from publishers' files: what is taken, what is assumed, and what is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("yaml", reason="missing dependency: yaml")

import exoactor
from export.deploy_yaml import read_yaml
from export.manifest_command import make_draft
from export.onnx_draft import Tensors, draft_from
from runtime.errors import Refused
from runtime.manifest_reader import load_manifest
from runtime.robot import load_robot
from tests.publisher_files import ISAAC_OF_MOTOR, berkeley_yaml, deploy_yaml
from tests.shared_data import shared_data
from tests.small_biped import LEG_JOINTS, write_biped
from tests.tracker_networks import beyond_mimic, holosoma_tracker, make_motion

G1 = load_robot("g1_29dof")
NAMES = list(G1.order.names)
T1 = load_robot("booster_t1")


def from_yaml(folder: Path, text: str, robot: str | None = None) -> Any:
    path = folder / "source.yaml"
    path.write_text(text, encoding="utf-8")
    return make_draft(path, None, robot, "mine", None)


# ---- unitree_rl_lab


def test_a_deploy_file_becomes_names_and_policy_order(tmp_path: Path) -> None:
    draft = from_yaml(tmp_path, deploy_yaml())
    assert draft.data["joints"][:3] == ["left_hip_pitch_joint", "right_hip_pitch_joint", "waist_yaw_joint"]
    by_name = dict(zip(draft.data["joints"], draft.data["gains"]["kp"], strict=True))
    assert [by_name[joint.name] for joint in G1.joints] == [100 + joint.motor for joint in G1.joints]
    assert draft.data["default_pose"][1] == 0.01, "the pose is in policy order already"
    assert draft.data["action"] == {"scale": 0.25, "offset": "default_pose"}
    assert draft.data["rate_hz"] == 50
    assert draft.data["command"]["yaw_rate"] == [-0.2, 0.2]
    assert "held" not in draft.data


def test_a_23_joint_file_keeps_its_motor_slots(tmp_path: Path) -> None:
    absent = {13, 14, 20, 21, 27, 28}
    ids = [motor for motor in ISAAC_OF_MOTOR if motor not in absent]
    text = deploy_yaml().replace(str(list(ISAAC_OF_MOTOR)), str(ids))
    for key, values in (("stiffness", [100.0 + k for k in range(29)]), ("damping", [1.0 + 0.1 * k for k in range(29)])):
        shorter = [200.0 - k if key == "stiffness" else 2.0 for k in range(23)]
        text = text.replace(f"{key}: {values}", f"{key}: {shorter}")
    pose = [round(0.01 * k, 3) for k in range(29)]
    text = text.replace(str(pose), str(pose[:23]))
    for scale in (0.25, 1.0, 0.05):
        text = text.replace(str([scale] * 29), str([scale] * 23))
    draft = from_yaml(tmp_path, text)
    assert (draft.data["robot"], len(draft.data["joints"])) == ("g1_23dof", 23)
    by_name = dict(zip(draft.data["joints"], draft.data["gains"]["kp"], strict=True))
    assert by_name["left_hip_pitch_joint"] == 200
    assert by_name["left_shoulder_pitch_joint"] == 200 - 13, "the fourteenth driven motor, in slot 15"


def test_gains_of_every_slot_are_taken_by_slot(tmp_path: Path) -> None:
    longer = [100.0 + k for k in range(35)]
    text = deploy_yaml().replace(f"stiffness: {[100.0 + k for k in range(29)]}", f"stiffness: {longer}")
    draft = from_yaml(tmp_path, text)
    assert draft.data["gains"]["kp"][1] == 106


@pytest.mark.parametrize("joint_ids", ["null", None, str(list(range(29)))])
def test_all_joints_may_be_written_as_python_writes_them(tmp_path: Path, joint_ids: str | None) -> None:
    assert from_yaml(tmp_path, deploy_yaml(joint_ids=joint_ids)).data["action"]["scale"] == 0.25


def test_no_other_python_object_is_ever_made(tmp_path: Path) -> None:
    marker = tmp_path / "made"
    path = tmp_path / "evil.yaml"
    for tag in (f"!!python/object/apply:os.system ['touch {marker}']", "!!python/name:os.system",
                "!!python/object/apply:builtins.slice {args: [1]}", "!!python/object/apply:builtins.slice [a, b]",
                "!!python/object/apply:builtins.eval ['1']"):
        path.write_text(f"joint_ids_map: {tag}\n", encoding="utf-8")
        with pytest.raises(Refused, match="plain YAML"):
            read_yaml(path)
    assert not marker.exists()


@pytest.mark.parametrize(("change", "found"), [
    (("  last_action:", "  height_scan:"), "the ground around the robot"),
    (("  last_action:", "  favourite_colour:"), "gait_phase, generated"),
    (("JointPositionAction", "JointVelocityAction"), "JointPositionAction alone"),
    (("step_dt: 0.02", "step_dt: 0"), "step_dt"),
    (("joint_ids_map: [0, 6", "joint_ids_map: [0, 0"), "different motor indices"),
    (("joint_ids_map: [0, 6", "joint_ids_map: [0, 66"), "motor slots of g1_29dof"),
    (("damping: [1.0, ", "damping: ["), "damping"),
    (("lin_vel_y: [-0.3, 0.3]", "lin_vel_y: [-0.3]"), "lin_vel_y"),
    (("scale: [0.2, 0.2, 0.2]", "scale: [0.2, 0.2]"), "scale of base_ang_vel"),
    (("stiffness:", "stiffnes:"), "stiffness"),
])
def test_a_deploy_file_that_cannot_be_read_right_is_refused(
    tmp_path: Path, change: tuple[str, str], found: str
) -> None:
    text = deploy_yaml()
    assert change[0] in text
    with pytest.raises(Refused) as refused:
        from_yaml(tmp_path, text.replace(*change, 1))
    assert found.split(",")[0] in str(refused.value)


def test_an_unknown_observation_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        from_yaml(tmp_path, deploy_yaml().replace("  projected_gravity:", "  smell:"))
    assert "projected_gravity" in refused.value.expected
    assert refused.value.found == "smell"


def test_part_of_the_joints_driven_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="joint_ids"):
        from_yaml(tmp_path, deploy_yaml(joint_ids=str(list(range(12)))))


def test_bounds_before_and_after_scaling_are_told_apart(tmp_path: Path) -> None:
    clipped = deploy_yaml(history=1).replace("clip: null\n    scale: [0.2, 0.2, 0.2]",
                                             "clip: [-4.0, 4.0]\n    scale: [0.2, 0.2, 0.2]")
    term = from_yaml(tmp_path, clipped).data["inputs"][0]["blocks"][0]["terms"][0]
    assert (term["clip"], term["scale"]) == ([-4, 4], 0.2)
    late = clipped.replace("observations:\n", "observations:\n  scale_first: true\n")
    term = from_yaml(tmp_path, late).data["inputs"][0]["blocks"][0]["terms"][0]
    np.testing.assert_allclose(term["clip"], [-20, 20])


def test_groups_of_observations_are_inputs(tmp_path: Path) -> None:
    text = deploy_yaml(history=1)
    head, _, observations = text.partition("observations:\n")
    inner = "".join(f"  {line}\n" for line in observations.splitlines())
    draft = from_yaml(tmp_path, f"{head}observations:\n  policy:\n{inner}")
    assert [entry["name"] for entry in draft.data["inputs"]] == ["policy"]


def test_a_gait_phase_brings_its_clock(tmp_path: Path) -> None:
    extra = "  gait_phase:\n    params: {period: 0.8}\n    clip: null\n    scale: null\n    history_length: 1\n"
    draft = from_yaml(tmp_path, deploy_yaml(history=1, extra=extra))
    assert draft.data["phase"] == {"period_s": 0.8, "offsets_rad": [0]}
    assert [term["term"] for term in draft.data["inputs"][0]["blocks"][0]["terms"][-2:]] == ["phase_sin", "phase_cos"]


# ---- Berkeley Humanoid Lite


@pytest.mark.parametrize(("change", "found"), [
    (("action_indices: [0, 1", "action_indices: [0, 0"), "action_indices"),
    (("num_observations: 45", "num_observations: 48"), "num_observations"),
    (("action_scale: 0.25\n", ""), "action_scale"),
    (("leg_left_hip_roll_joint", "tail_joint"), "tail_joint"),
    (("joint_kp: [20.0, ", "joint_kp: ["), "joint_kp"),
])
def test_a_policy_file_that_does_not_fit_is_refused(tmp_path: Path, change: tuple[str, str], found: str) -> None:
    text = berkeley_yaml(LEG_JOINTS, list(range(12)))
    assert change[0] in text
    with pytest.raises(Refused) as refused:
        from_yaml(tmp_path, text.replace(*change, 1))
    assert found in str(refused.value)


def test_whole_frames_of_a_policy_file_are_kept_oldest_first(tmp_path: Path) -> None:
    draft = from_yaml(tmp_path, berkeley_yaml(LEG_JOINTS, list(range(12)), history=4))
    assert draft.data["inputs"][0]["blocks"][0]["history"] == {"length": 5, "order": "oldest_first", "fill": "zeros"}


def test_a_yaml_of_nobody_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"deploy\.yaml of unitree_rl_lab"):
        from_yaml(tmp_path, "colour: white\n")


def test_a_torch_file_is_sent_to_the_job_that_converts(tmp_path: Path) -> None:
    (tmp_path / "motion.pt").write_bytes(b"PK")
    with pytest.raises(Refused, match="export controller"):
        make_draft(tmp_path / "motion.pt", None, None, "x", None)


# ---- networks that say what they are


def test_a_published_holosoma_policy_becomes_the_shipped_manifest(tmp_path: Path) -> None:
    """Only what a manifest says for people, and how gains travel, may differ."""
    out = tmp_path / "m.json"
    model = shared_data("policies/ppo_g1_29dof.onnx")
    assert exoactor.main(["export", "manifest", "--from", str(model), "--out", str(out)]) == 0
    ours, shipped = load_manifest(str(out)), load_manifest("holosoma-velocity")
    assert ours.order == shipped.order
    for field in ("default_pose", "kp", "kd", "action_scale", "action_offset"):
        np.testing.assert_allclose(getattr(ours, field), getattr(shipped, field), rtol=1e-6)
    for field in ("kind", "rate_hz", "action_clip", "action_observed", "phase", "command_ranges"):
        assert getattr(ours, field) == getattr(shipped, field)

    def laid_out(manifest: Any) -> list[tuple[Any, ...]]:
        (entry,) = manifest.inputs
        (block,) = entry["blocks"]
        assert block["sort"] == "label"
        terms = sorted(block["terms"], key=lambda term: term.get("label", term["term"]))
        return [(term["term"], term.get("scale", 1)) for term in terms]

    assert laid_out(ours) == laid_out(shipped)


def holosoma_velocity(robot: Any, **changes: str) -> Tensors:
    n = len(robot.joints)
    metadata = {"dof_names": json.dumps(list(robot.order.names)), "kp": json.dumps([20.0] * n),
                "kd": json.dumps([1.0] * n), **changes}
    return Tensors({"actor_obs": 3 * n + 13}, {"action": n}, metadata)


def test_a_booster_walks_with_its_own_pose_and_scales() -> None:
    draft = draft_from(holosoma_velocity(T1), "t1", None, None)
    assert draft.data["robot"] == "booster_t1"
    pose = dict(zip(draft.data["joints"], draft.data["default_pose"], strict=True))
    assert (pose["Left_Shoulder_Roll"], pose["Right_Knee_Pitch"]) == (-1.35, 0.4)
    scales = {term.get("label", term["term"]): term.get("scale", 1)
              for term in draft.data["inputs"][0]["blocks"][0]["terms"]}
    assert (scales["base_ang_vel"], scales["dof_vel"]) == (1, 0.1)
    assert any("command ranges" in note for note in draft.notes)


def test_an_action_scale_of_the_network_counts() -> None:
    assert draft_from(holosoma_velocity(T1, action_scale="0.5"), "t1", None, None).data["action"]["scale"] == 0.5


def test_a_rate_that_was_given_is_not_a_guess() -> None:
    draft = draft_from(holosoma_velocity(T1), "t1", None, 100.0)
    assert draft.data["rate_hz"] == 100
    assert not any("rate" in note for note in draft.notes)


@pytest.mark.parametrize(("metadata", "inputs", "found"), [
    ({}, {"obs": 10}, "none at all"),
    ({"neutral_token": "[]", "kp": "[]"}, {"obs": 994}, "export sonic"),
    ({"dof_names": json.dumps(["a", "b"])}, {"obs": 10}, "export robot"),
    ({"dof_names": json.dumps(NAMES), "kp": "[1]", "kd": "[1]"}, {"obs": 101}, "100 observations"),
    ({"dof_names": json.dumps(NAMES), "kp": "[1]", "kd": "[1]"}, {"obs": 100, "more": 3}, "one observation input"),
    ({"dof_names": json.dumps(NAMES), "kp": "[1, 2]", "kd": "[1]"}, {"obs": 100}, "kp"),
    ({"joint_names": ",".join(NAMES)}, {"obs": 154}, "observation_names"),
])
def test_a_network_that_says_too_little_is_refused(
    metadata: dict[str, str], inputs: dict[str, int], found: str
) -> None:
    with pytest.raises(Refused) as refused:
        draft_from(Tensors(inputs, {"actions": 29}, metadata), "x", None, None)
    assert found in str(refused.value)


def mjlab(**changes: str) -> Tensors:
    """mujocolab/mjlab's velocity export, without the base velocity that it usually observes."""
    names = "base_ang_vel,projected_gravity,joint_pos,joint_vel,actions,command"
    metadata = {
        "joint_names": ",".join(NAMES), "joint_stiffness": "40.000", "joint_damping": "1.000",
        "default_joint_pos": "0.100", "action_scale": "0.500", "command_names": "twist", "observation_names": names,
        **changes,
    }
    return Tensors({"obs": 96}, {"actions": 29}, metadata)


def test_mjlab_says_scales_bounds_and_histories() -> None:
    draft = draft_from(mjlab(
        observation_terms_scale="0.25,1,1,0.05,1,1", observation_terms_history_length="0,0,0,0,3,0",
        observation_terms_clip="-10;10,-inf;inf,-inf;inf,-inf;inf,-inf;inf,-inf;inf",
        observation_terms_flatten_history_dim="1,1,1,1,1,1",
    ), "walk", None, None)
    terms = {term["term"]: term for term in draft.data["inputs"][0]["blocks"][0]["terms"]}
    assert (terms["base_ang_vel"]["scale"], terms["base_ang_vel"]["clip"]) == (0.25, [-10, 10])
    assert terms["last_action"]["history"] == {"length": 3, "order": "oldest_first", "fill": "repeat"}
    assert terms["velocity_command"]["label"] == "command"
    assert draft.data["default_pose"] == 0.1


@pytest.mark.parametrize(("changes", "found"), [
    ({"observation_names": "base_pos_z,actions"}, "the height of the base"),
    ({"observation_names": "motion_anchor_pos_b,actions"}, "where the base is in the world"),
    ({"observation_terms_scale": "1,1"}, "one entry for each"),
    ({"observation_terms_history_length": "0,0,0,0,3,0", "observation_terms_flatten_history_dim": "1,1,1,1,0,1"},
     "an own dimension"),
    ({"joint_stiffness": "soft"}, "joint_stiffness"),
])
def test_what_a_robot_cannot_observe_or_a_file_contradicts_is_refused(changes: dict[str, str], found: str) -> None:
    with pytest.raises(Refused) as refused:
        draft_from(mjlab(**changes), "x", None, None)
    assert found in str(refused.value)


def test_a_base_velocity_names_an_estimator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = beyond_mimic(
        tmp_path / "policy.onnx", make_motion(5, 29), NAMES, np.zeros(29), size=5 * 29 + 12,
        observations="command,motion_anchor_ori_b,base_lin_vel,base_ang_vel,joint_pos,joint_vel,actions",
    )
    out = tmp_path / "m.json"
    assert exoactor.main(["export", "manifest", "--from", str(model), "--out", str(out)]) == 0
    assert "no sensor measures" in capsys.readouterr().out
    assert load_manifest(str(out)).estimator == "classical"


@pytest.mark.parametrize("kind", ["holosoma", "BeyondMimic"])
def test_a_trackers_manifest_is_checked_on_its_own_network(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    motion, model = make_motion(20, 29), tmp_path / "policy.onnx"
    if kind == "holosoma":
        holosoma_tracker(model, motion, NAMES)
    else:
        beyond_mimic(model, motion, NAMES, np.zeros(29))
    out = tmp_path / "m.json"
    assert exoactor.main(["export", "manifest", "--from", str(model), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "fits" in said and "50 Hz assumed" in said
    manifest = load_manifest(str(out))
    assert manifest.embedded is not None
    assert (manifest.embedded.lag, manifest.embedded.quat_order, manifest.anchor) == (
        (1, "xyzw", "torso_link") if kind == "holosoma" else (0, "wxyz", "torso_link"))
    assert manifest.model_file == "policy.onnx"  # it lies beside
    assert manifest.model_sha256


def test_a_network_of_another_size_than_its_names_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = beyond_mimic(tmp_path / "policy.onnx", make_motion(5, 29), NAMES, np.zeros(29),
                         observations="command,motion_anchor_ori_b,base_ang_vel,joint_pos,joint_vel")
    assert exoactor.main(["export", "manifest", "--from", str(model), "--out", str(tmp_path / "m.json")]) == 2
    assert "154" in capsys.readouterr().err
    assert not (tmp_path / "m.json").exists()


# ---- robots


def test_a_robot_file_from_the_g1_plant_is_the_shipped_one_where_a_plant_can_say(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from firmware_bridge.simulated_robot import PLANTS

    out = tmp_path / "r.json"
    assert exoactor.main(["export", "robot", "--plant", str(PLANTS / "g1_29dof.xml"), "--out", str(out)]) == 0
    robot = load_robot(str(out))
    assert robot.order == G1.order
    for ours, theirs in zip(robot.joints, G1.joints, strict=True):
        assert (ours.motor, ours.effort_n_m) == (theirs.motor, theirs.effort_n_m)
        np.testing.assert_allclose([ours.lower_rad, ours.upper_rad], [theirs.lower_rad, theirs.upper_rad], atol=1e-4)
        assert ours.armature_kg_m2 == pytest.approx(theirs.armature_kg_m2, rel=1e-6)
    assert robot.bodies == G1.bodies
    assert robot.wire == "none"


def test_a_plant_without_torque_limits_makes_no_robot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    plant = write_biped(tmp_path / "b.xml", limits=False)
    assert exoactor.main(["export", "robot", "--plant", str(plant), "--out", str(tmp_path / "r.json")]) == 2
    assert "torque limit" in capsys.readouterr().err


def test_an_anchor_of_the_plant_gets_its_chain(tmp_path: Path) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    plant, out = write_biped(tmp_path / "b.xml"), tmp_path / "r.json"
    words = ["export", "robot", "--plant", str(plant), "--out", str(out), "--anchor"]
    assert exoactor.main([*words, "leg_left_hip_pitch"]) == 0
    chain = load_robot(str(out)).bodies["leg_left_hip_pitch"]
    assert [turn.joint for turn in chain] == ["leg_left_hip_roll_joint", "leg_left_hip_yaw_joint",
                                              "leg_left_hip_pitch_joint"]
    assert exoactor.main([*words, "tail"]) == 2
