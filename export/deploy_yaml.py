"""unitree_rl_lab's `params/deploy.yaml` as a manifest.

Which order what is in: unitreerobotics/unitree_rl_lab @ e72a072, `deploy/include/isaaclab/` and `State_RLBase`: default
pose, action scale and offset follow the policy, stiffness and damping the motors, `joint_ids_map` takes the policy's
index to the motor's. Histories are each term's own, oldest first, filled with the first value, unless `use_gym_history`
keeps whole frames. Clip comes before scale, unless `scale_first`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from export.draft import Draft, find_robot, hold_the_rest, number, per_joint
from export.observation_names import Observed, block
from runtime.errors import Refused
from runtime.robot import load_robot

SLICE = "tag:yaml.org,2002:python/object/apply:builtins.slice"
_SWITCHES = {"use_gym_history", "scale_first"}
_ANCHOR = "torso_link"
"""What its `State_Mimic.cpp` compares."""


class _Loader(yaml.SafeLoader):
    """Plain YAML and Python slices, which Isaac Lab writes for "all joints"; no other tag makes an object."""


def _slice(loader: yaml.SafeLoader, node: yaml.Node) -> slice:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.YAMLError("a slice is a list of up to three numbers")
    parts = loader.construct_sequence(node)
    if not 1 <= len(parts) <= 3 or not all(part is None or isinstance(part, int) for part in parts):
        raise yaml.YAMLError("a slice is a list of up to three numbers")
    return slice(*parts)


_Loader.add_constructor(SLICE, _slice)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; the only tag that is taken beyond plain YAML is the slice.

    Raises:
        Refused: unreadable, another tag, no mapping.
    """
    what = f"file {path.name}"
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise Refused(what, expected="plain YAML", found=f"{error}"[:300],
                      what_to_do="tags that make Python objects are never loaded: remove them") from error
    if not isinstance(data, dict):
        raise Refused(what, expected="a mapping", found=type(data).__name__,
                      what_to_do="give the deployment's own file")
    return data


def is_deploy_yaml(data: dict[str, Any]) -> bool:
    """Whether this is unitree_rl_lab's layout."""
    return {"joint_ids_map", "observations", "actions"} <= set(data)


def draft_from(data: dict[str, Any], name: str, robot_name: str | None) -> Draft:
    """A manifest from the file's content.

    Args:
        robot_name: whose motors `joint_ids_map` counts; None: the G1 with that many joints.

    Raises:
        Refused: keys that are missing or have other sizes; observations that have no term.
    """
    reader = _File(data)
    robot_name = robot_name or ("g1_23dof" if len(reader.ids) == 23 else "g1_29dof")
    robot = load_robot(robot_name)
    by_motor = {joint.motor: joint.name for joint in robot.joints}
    unknown = [motor for motor in reader.ids if motor not in by_motor]
    if unknown:
        raise reader.refuse("joint_ids_map", f"motor slots of {robot.name}", f"unknown {unknown}")
    joints = [by_motor[motor] for motor in reader.ids]
    find_robot(robot_name, joints, reader.what)
    notes: list[str] = []
    action = reader.action(len(joints))
    is_motion = any("motion" in observed.name for group in reader.groups() for observed in group[1])
    kind = "motion" if is_motion else "velocity"
    pose = reader.numbers("default_joint_pos", data["default_joint_pos"], len(joints))
    kp, kd = reader.gains("stiffness", joints, reader.ids), reader.gains("damping", joints, reader.ids)
    inputs = []
    for group, observations, whole_frames in reader.groups():
        entry: dict[str, Any] = {"name": group} if group else {}
        entry["blocks"] = [block(observations, len(joints), kind, reader.what, whole_frames=whole_frames)]
        inputs.append(entry)
    content: dict[str, Any] = {
        "name": name, "source": "unitreerobotics/unitree_rl_lab layout, params/deploy.yaml",
        "kind": "tracker" if is_motion else "velocity", "robot": robot_name,
        "rate_hz": number(1 / float(data["step_dt"])), "joints": joints, "default_pose": per_joint(pose),
        "gains": {"kp": per_joint(kp), "kd": per_joint(kd)}, "inputs": inputs, "action": action(pose, notes),
    }
    held = hold_the_rest(robot, joints, notes)
    if held:
        content["held"] = held
    if is_motion:
        content["reference"] = {"body": _ANCHOR, "align": "yaw"}
        notes.append("a tracker that follows a clip: convert the motion beside the policy (docs/clips.md) and give it "
                     "with --clip")
    else:
        content["command"] = reader.command()
    period = reader.gait_period()
    if period is not None:
        content["phase"] = {"period_s": number(period), "offsets_rad": [0]}
    return Draft(content, notes)


class _File:
    """The parsed file, every value checked as it is taken."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data, self.what = data, "deploy.yaml"
        missing = sorted({"joint_ids_map", "step_dt", "stiffness", "damping", "default_joint_pos", "actions",
                          "observations"} - set(data))
        if missing:
            raise self.refuse("top level", "the keys of unitree_rl_lab's deploy.yaml", f"missing {', '.join(missing)}")
        ids = data["joint_ids_map"]
        if not isinstance(ids, list) or not ids or not all(isinstance(i, int) for i in ids) or len(set(ids)) < len(ids):
            raise self.refuse("joint_ids_map", "a list of different motor indices", f"{ids!r}"[:200])
        self.ids: list[int] = ids
        if not isinstance(data["step_dt"], (int, float)) or not 0.001 <= data["step_dt"] <= 1:
            raise self.refuse("step_dt", "seconds from 0.001 to 1", data["step_dt"])

    def refuse(self, key: str, expected: str, found: object) -> Refused:
        """The error for a key; to be raised by the caller."""
        return Refused(f"{self.what}, {key}", expected=expected, found=f"{found}",
                       what_to_do="give the file that belongs to the policy, unchanged")

    def numbers(self, key: str, found: Any, size: int) -> list[float]:
        """`size` numbers, or one for all."""
        listed = found if isinstance(found, list) else [found]
        if not listed or not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in listed):
            raise self.refuse(key, "numbers", f"{found!r}"[:200])
        if len(listed) == 1:
            listed = listed * size
        if len(listed) != size:
            raise self.refuse(key, f"{size} numbers, or one", len(listed))
        return [float(x) for x in listed]

    def gains(self, key: str, joints: Sequence[str], ids: Sequence[int]) -> list[float]:
        """In policy order, from motor order: a list of the driven motors, or of every slot up to the last."""
        found = self.data[key]
        if isinstance(found, list) and len(found) not in (1, len(joints)):
            if len(found) <= max(ids):
                raise self.refuse(key, f"{len(joints)} numbers, one a driven motor", len(found))
            return [self.numbers(key, found, len(found))[motor] for motor in ids]
        values = self.numbers(key, found, len(joints))
        place = {motor: i for i, motor in enumerate(sorted(ids))}
        return [values[place[motor]] for motor in ids]

    def action(self, joints: int) -> Any:
        """A function from the default pose to the manifest's `action`."""
        actions = self.data["actions"]
        if not isinstance(actions, dict) or list(actions) != ["JointPositionAction"]:
            raise self.refuse("actions", "JointPositionAction alone", f"{list(actions) if actions else actions}")
        found = actions["JointPositionAction"]
        ids = found.get("joint_ids")
        if ids not in (None, slice(None)) and list(ids) != list(range(joints)):
            raise self.refuse("actions.joint_ids", f"all {joints} joints, in order (null)", ids)
        scale = per_joint(self.numbers("actions.scale", found["scale"], joints))
        offset = [0.0] * joints
        if found.get("offset") is not None:
            offset = self.numbers("actions.offset", found["offset"], joints)

        def complete(pose: list[float], notes: list[str]) -> dict[str, Any]:
            out: dict[str, Any] = {"scale": scale, "offset": "default_pose" if offset == pose else per_joint(offset)}
            clip = found.get("clip")
            if clip is not None:
                rows = clip if isinstance(clip[0], list) else [clip]
                if len({tuple(row) for row in rows}) > 1:
                    raise self.refuse("actions.clip", "one pair of bounds for all joints", clip)
                notes.append("the source clips joint targets; bounds of the action itself are not in it: `action.clip` "
                             "is left out, and the gate holds targets to the joints' ranges")
            return out

        return complete

    def groups(self) -> list[tuple[str, list[Observed], bool]]:
        """(input name or "", observations, whole frames) of each input of the network."""
        found = self.data["observations"]
        if not isinstance(found, dict) or not found:
            raise self.refuse("observations", "a mapping", type(found).__name__)
        first = next(value for key, value in found.items() if key not in _SWITCHES)
        if isinstance(first, dict) and "params" not in first and "history_length" not in first:
            return [(name, *self._group(group)) for name, group in found.items()]
        return [("", *self._group(found))]

    def _group(self, found: dict[str, Any]) -> tuple[list[Observed], bool]:
        scale_first = bool(found.get("scale_first", False))
        observations = []
        for name, entry in found.items():
            if name in _SWITCHES:
                continue
            scale, clip = entry.get("scale"), entry.get("clip")
            if clip is not None and scale_first and scale is not None:
                scales = set(scale) if isinstance(scale, list) else {scale}
                if len(scales) > 1:
                    raise self.refuse(f"observations.{name}", "one scale with scale_first and a clip", scale)
                clip = [bound / next(iter(scales)) for bound in clip]
            observations.append(Observed(
                name, scale, None if clip is None else (float(clip[0]), float(clip[1])),
                max(1, int(entry.get("history_length", 1))),
            ))
        return observations, bool(found.get("use_gym_history", False))

    def command(self) -> dict[str, list[float]]:
        """Ranges of the velocity command."""
        commands = self.data.get("commands") or {}
        ranges = next((entry.get("ranges") for entry in commands.values() if isinstance(entry, dict)), None)
        if not isinstance(ranges, dict):
            raise self.refuse("commands", "base_velocity with its ranges", f"{commands}")
        out = {}
        for ours, theirs in (("vx", "lin_vel_x"), ("vy", "lin_vel_y"), ("yaw_rate", "ang_vel_z")):
            span = ranges.get(theirs)
            if not isinstance(span, list) or len(span) != 2:
                raise self.refuse(f"commands.{theirs}", "[low, high]", span)
            out[ours] = [number(x) for x in self.numbers(f"commands.{theirs}", span, 2)]
        return out

    def gait_period(self) -> float | None:
        """Of the term `gait_phase`, if there is one."""
        for group in (self.data["observations"], *self.data["observations"].values()):
            entry = group.get("gait_phase") if isinstance(group, dict) else None
            if isinstance(entry, dict):
                return self.numbers("gait_phase.params.period", entry["params"]["period"], 1)[0]
        return None
