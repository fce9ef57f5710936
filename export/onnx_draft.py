"""A manifest from what an exporter wrote into the network itself: BeyondMimic's and mjlab's dialect, and holosoma's.

HybridRobotics/whole_body_tracking `utils/exporter.py` and mujocolab/mjlab `rl/exporter_utils.py` write comma-separated
text with the observations' names; amazon-far/holosoma `utils/inference_helpers.py` writes JSON without them, so its two
published observation layouts (`config_values/observation.py` @ 3f8f006) are told apart by the network's size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from export.draft import ASSUMED_COMMAND, Draft, find_robot, hold_the_rest, number, per_joint
from export.network_metadata import DIALECTS, written_key
from export.observation_names import Observed, block, terms
from runtime.errors import Refused
from runtime.model_metadata import parse_list
from runtime.robot import Robot

TIME_STEP = "time_step"
_MOTION_OUTPUTS = {"joint_pos", "joint_vel"}
ASSUMED_HZ = 50.0
_LEGS = [-0.312, 0, 0, 0.669, -0.363, 0]
# default pose, gyro scale and joint velocity scale of holosoma's robots; its metadata have none of them
_HOLOSOMA: dict[str, tuple[list[float], float, float]] = {
    "g1_29dof": (
        [*_LEGS, *_LEGS, 0, 0, 0, 0.2, 0.2, 0, 0.6, 0, 0, 0, 0.2, -0.2, 0, 0.6, 0, 0, 0], 0.25, 0.05,
    ),
    "booster_t1": (
        [0, 0, 0.2, -1.35, 0, -0.5, 0, 0, 0, 0.2, 1.35, 0, 0.5, 0, 0, 0, 0,
         -0.2, 0, 0, 0.4, -0.25, 0, -0.2, 0, 0, 0.4, -0.25, 0], 1.0, 0.1,
    ),
}
_HOLOSOMA_ANCHOR = {"g1_29dof": "torso_link", "booster_t1": "Trunk"}
_CLIP = [-100, 100]
_ANCHOR = "torso_link"
"""Anchor of whole_body_tracking's and mjlab's G1."""
_PUBLISHED = ("command", "motion_anchor_ori_b", "base_ang_vel", "joint_pos", "joint_vel", "actions")
"""Observations of whole_body_tracking's task without state estimation, in its order."""


@dataclass(frozen=True)
class Tensors:
    """Names and sizes of a network's inputs and outputs, and what its exporter wrote beside them."""

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    metadata: Mapping[str, str]


def draft_from(network: Tensors, name: str, robot_name: str | None, rate_hz: float | None) -> Draft:
    """A manifest for a network that says enough of itself.

    Raises:
        Refused: no dialect this knows; names, sizes or observations that do not fit.
    """
    metadata = network.metadata
    if "neutral_token" in metadata:
        raise Refused("network's metadata", expected="a policy by itself",
                      found="SONIC's decoder (neutral_token), which follows an encoder",
                      what_to_do="use `exoactor export sonic`")
    if "joint_names" in metadata:
        draft = _beyond_mimic(network, name, robot_name)
    elif "dof_names" in metadata:
        draft = _holosoma(network, name, robot_name)
    else:
        raise Refused("network's metadata",
                      expected="joint_names (BeyondMimic, mjlab) or dof_names (holosoma)",
                      found=", ".join(sorted(metadata)) or "none at all",
                      what_to_do="find its family in docs/families.md: some bring a deployment file (deploy.yaml), "
                      "TWIST2 has a shipped manifest (--manifest twist2); else write one by hand (docs/controllers.md)")
    if rate_hz is None:
        draft.notes.append(f"the network does not say its rate: {ASSUMED_HZ:g} Hz assumed (--rate)")
    draft.data["rate_hz"] = number(ASSUMED_HZ if rate_hz is None else rate_hz)
    return draft


def _floats(metadata: Mapping[str, str], field: str, size: int) -> list[float]:
    """Numbers of a joint each, under whichever of the usual keys they are written."""
    usual = DIALECTS["BeyondMimic"][field]
    key = written_key(metadata, usual) or usual[0]
    what = f"network's metadata, {key}"
    try:
        values = [float(part) for part in parse_list(metadata[key])]
    except (KeyError, TypeError, ValueError):
        raise Refused(what, expected="numbers", found=str(metadata.get(key, "nothing"))[:200],
                      what_to_do=f"export the network with one of {', '.join(usual)}, or write the manifest by hand "
                      "(docs/controllers.md) and give it with --manifest") from None
    if len(values) == 1:
        values = values * size
    if len(values) != size:
        raise Refused(what, expected=f"{size} numbers, one a joint", found=f"{len(values)}",
                      what_to_do="export the network again, or write the manifest by hand")
    return values


def _action_output(network: Tensors, joints: int) -> str:
    named = [name for name in ("actions", "action") if network.outputs.get(name) == joints]
    sized = [name for name, size in network.outputs.items() if size == joints and name not in _MOTION_OUTPUTS]
    if not named and len(sized) != 1:
        raise Refused("network", expected=f"one output of {joints} numbers, or one named actions",
                      found=f"{dict(network.outputs)}",
                      what_to_do="write the manifest by hand, with `outputs.action` (docs/controllers.md)")
    return named[0] if named else sized[0]


def _time_step(network: Tensors) -> str | None:
    """The input that picks a row of a motion: one number, called a step or a time; None without one."""
    named = [name for name, size in network.inputs.items()
             if size == 1 and (name == TIME_STEP or "step" in name.lower() or "time" in name.lower())]
    return named[0] if len(named) == 1 else None


def _observation_input(network: Tensors) -> str:
    names = [name for name in network.inputs if name != _time_step(network)]
    if len(names) != 1:
        raise Refused("network", expected="one observation input", found=", ".join(names) or "none",
                      what_to_do="write the manifest by hand (docs/controllers.md)")
    return names[0]


def _common(network: Tensors, name: str, robot_file: str, robot: Robot, joints: list[str], notes: list[str],
            joints_key: str) -> dict[str, Any]:
    content: dict[str, Any] = {"name": name, "robot": robot_file, "joints": joints}
    held = hold_the_rest(robot, joints, notes)
    if held:
        content["held"] = held
    content["model"] = {"metadata": {"joints": joints_key}}
    content["outputs"] = {"action": _action_output(network, len(joints))}
    return content


def _beyond_mimic(network: Tensors, name: str, robot_name: str | None) -> Draft:
    metadata, notes = network.metadata, list[str]()
    joints = [str(joint) for joint in parse_list(metadata["joint_names"])]
    n = len(joints)
    robot_file, robot = find_robot(robot_name, joints, "network's metadata, joint_names")
    is_motion = _time_step(network) is not None or "anchor_body_name" in metadata
    kind = "motion" if is_motion else "velocity"
    observations = _observations(network, n, is_motion, notes)
    content = _common(network, name, robot_file, robot, joints, notes, "joint_names")
    content |= {
        "source": "HybridRobotics/whole_body_tracking or mjlab export: the network's own metadata",
        "kind": "tracker" if is_motion else "velocity",
        "default_pose": per_joint(_floats(metadata, "default_pose", n)),
        "gains": {"kp": per_joint(_floats(metadata, "kp", n)), "kd": per_joint(_floats(metadata, "kd", n))},
        "inputs": [{"name": _observation_input(network),
                    "blocks": [block(observations, n, kind, "network's metadata")]}],
        "action": {"scale": per_joint(_floats(metadata, "action_scale", n)), "offset": "default_pose"},
    }
    if is_motion:
        content["reference"] = _reference(network, robot, notes)
    else:
        content["command"] = ASSUMED_COMMAND
        notes.append("the network does not say its command ranges: narrow ones assumed, see `command`")
    return Draft(content, notes)


def _reference(network: Tensors, robot: Robot, notes: list[str]) -> dict[str, Any]:
    """A BeyondMimic tracker's motion: inside the network where a time step picks its rows, else a clip."""
    metadata, step = network.metadata, _time_step(network)
    if "anchor_body_name" in metadata:
        body = metadata["anchor_body_name"].strip(' "\'')
    else:
        body = _ANCHOR if _ANCHOR in robot.bodies else next(iter(robot.bodies), "")
        notes.append(f"the network does not say its anchor body: {body} assumed, see `reference.body`")
    if body not in robot.bodies:
        raise Refused("network's metadata, anchor_body_name",
                      expected=f"a body that {robot.name}'s file knows: {', '.join(robot.bodies) or 'it knows none'}",
                      found=body, what_to_do="describe the robot with its chain to that body (`exoactor export robot "
                      "--anchor`, docs/robots.md) and name the file with --robot")
    reference: dict[str, Any] = {"body": body, "align": "yaw"}
    if step is None:
        return reference
    quat = network.outputs.get("body_quat_w", 0)
    rows = [str(name) for name in parse_list(metadata["body_names"])] if "body_names" in metadata else []
    missing = [name for name in (*sorted(_MOTION_OUTPUTS), "body_quat_w") if name not in network.outputs]
    if missing:
        raise Refused("network", expected="outputs joint_pos, joint_vel, body_quat_w of a motion inside it",
                      found=f"no {', '.join(missing)} among {', '.join(network.outputs)}",
                      what_to_do="write the manifest by hand, with the outputs' names in `reference` "
                      "(docs/controllers.md)")
    if quat != 4 * max(1, len(rows)):
        raise Refused("network's metadata, body_names", expected=f"{quat // 4} names, a row of body_quat_w each",
                      found=f"{len(rows)}" if rows else "no such key",
                      what_to_do="write the manifest by hand, with the bodies in the training configuration's order in "
                      "`reference.bodies` (docs/controllers.md)")
    reference |= {"source": "model", "quat": "body_quat_w", "quat_order": "wxyz", "lag": 0}
    if step != TIME_STEP:
        reference["time_step"] = step
    if rows:
        reference["bodies"] = rows
    if "body_pos_w" in network.outputs:
        reference["position"] = "body_pos_w"
    return reference


def _observations(network: Tensors, joints: int, is_motion: bool, notes: list[str]) -> list[Observed]:
    """Names, scales, bounds and histories, as far as the exporter wrote them."""
    metadata = network.metadata
    if "observation_names" not in metadata:
        if not is_motion or network.inputs[_observation_input(network)] != 5 * joints + 9:
            raise Refused("network's metadata", expected="observation_names", found=", ".join(sorted(metadata)),
                          what_to_do="export it with a newer exporter, or write the manifest by hand "
                          "(docs/controllers.md) and give it with --manifest")
        notes.append(f"the network does not name its observations: {', '.join(_PUBLISHED)} assumed, as its size is "
                     "that of whole_body_tracking's task without state estimation")
        return [Observed(name) for name in _PUBLISHED]
    names = [str(part) for part in parse_list(metadata["observation_names"])]
    lengths = metadata.get("observation_terms_history_length", metadata.get("observation_history_lengths"))

    def column(text: str | None, usual: str) -> list[str]:
        found = [usual] * len(names) if text in (None, "", "None", "null") else [str(x) for x in parse_list(text or "")]
        if len(found) != len(names):
            raise Refused("network's metadata", expected=f"one entry for each of {', '.join(names)}", found=f"{text}",
                          what_to_do="export the network again, or write the manifest by hand")
        return found

    flat = column(metadata.get("observation_terms_flatten_history_dim"), "1")
    histories = column(lengths, "1")
    out = []
    for name, scale, clip, history, is_flat in zip(
        names, column(metadata.get("observation_terms_scale"), "1"),
        column(metadata.get("observation_terms_clip"), "-inf;inf"), histories, flat, strict=True,
    ):
        ticks = max(1, int(float(history)))
        if ticks > 1 and float(is_flat) == 0:
            raise Refused(f"network's metadata, history of {name}", expected="ticks written one after the other",
                          found="an own dimension for them", what_to_do="write the manifest by hand")
        low, _, high = clip.partition(";")
        bounds = (float(low), float(high or "inf"))
        bounded = None if bounds == (float("-inf"), float("inf")) else bounds
        out.append(Observed(name, float(scale), bounded, ticks))
    return out


def _holosoma(network: Tensors, name: str, robot_name: str | None) -> Draft:
    metadata, notes = network.metadata, list[str]()
    joints = [str(joint) for joint in parse_list(metadata["dof_names"])]
    n = len(joints)
    robot_file, robot = find_robot(robot_name, joints, "network's metadata, dof_names")
    if robot.name not in _HOLOSOMA or len(_HOLOSOMA[robot.name][0]) != n:
        raise Refused("network's metadata", expected=f"holosoma's {' or '.join(_HOLOSOMA)}", found=robot.name,
                      what_to_do="its metadata lack pose and scales: write the manifest by hand (docs/controllers.md)")
    pose, gyro_scale, velocity_scale = _HOLOSOMA[robot.name]
    size = network.inputs[_observation_input(network)]
    is_motion = _time_step(network) is not None
    expected = 5 * n + 9 if is_motion else 3 * n + 13
    if size != expected:
        raise Refused("network", expected=f"{expected} observations of holosoma's {'tracker' if is_motion else 'walk'}",
                      found=f"{size}", what_to_do="write the manifest by hand (docs/controllers.md)")
    names = _TRACKER if is_motion else _VELOCITY
    scales = {"base_ang_vel": gyro_scale, "dof_vel": velocity_scale} if not is_motion else {}
    kind = "motion" if is_motion else "velocity"
    entries = [term for observed in names
               for term in terms(Observed(observed, scales.get(observed)), n, kind, "network's metadata")]
    content = _common(network, name, robot_file, robot, joints, notes, "dof_names")
    scale = _floats(metadata, "action_scale", n) if "action_scale" in metadata else [1.0 if is_motion else 0.25]
    content |= {
        "source": "amazon-far/holosoma export: the network's own metadata, and the layout its size tells",
        "kind": "tracker" if is_motion else "velocity",
        "default_pose": per_joint(pose),
        "gains": {"kp": per_joint(_floats(metadata, "kp", n)), "kd": per_joint(_floats(metadata, "kd", n))},
        "inputs": [{"name": _observation_input(network), "blocks": [{"sort": "label", "terms": entries}]}],
        "action": {"scale": per_joint(scale), "offset": "default_pose", "clip": _CLIP, "observed": "clipped"},
    }
    if "action_scale" not in metadata:
        notes.append(f"the network does not say its action scale: {scale[0]:g} assumed, as its published ones have")
    if is_motion:
        content["reference"] = {
            "source": "model", "body": _HOLOSOMA_ANCHOR[robot.name], "align": "yaw", "quat": "ref_quat_xyzw",
            "quat_order": "xyzw", "position": "ref_pos_xyz", "lag": 1,
        }
    else:
        content["phase"] = {"period_s": 1, "offsets_rad": [0, 3.141592653589793], "stand_threshold": 0.01,
                            "stand_rad": 3.141592653589793}
        content["command"] = _ranges(metadata, notes)
    return Draft(content, notes)


_TRACKER = ("motion_command", "motion_ref_ori_b", "base_ang_vel", "dof_pos", "dof_vel", "actions")
_VELOCITY = ("base_ang_vel", "projected_gravity", "command_lin_vel", "command_ang_vel", "dof_pos", "dof_vel", "actions",
             "sin_phase", "cos_phase")


def _ranges(metadata: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(metadata["command_ranges"])
        return {ours: [number(x) for x in found[theirs]] for ours, theirs in
                (("vx", "lin_vel_x"), ("vy", "lin_vel_y"), ("yaw_rate", "ang_vel_yaw"))}
    except (KeyError, TypeError, ValueError):
        notes.append("the network does not say its command ranges: narrow ones assumed, see `command`")
        return dict(ASSUMED_COMMAND)
