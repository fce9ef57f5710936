"""unitree_rl_lab's `params/deploy.yaml` as a manifest.

Which order what is in: unitreerobotics/unitree_rl_lab @ e72a072, `deploy/include/isaaclab/` and `State_RLBase`: default
pose, action scale and offset follow the policy, stiffness and damping the motors, `joint_ids_map` takes the policy's
index to the motor's. Histories are each term's own, oldest first, filled with the first value, unless `use_gym_history`
keeps whole frames. Clip comes before scale, unless `scale_first`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from export.draft import ASSUMED_COMMAND, Draft, find_robot, hold_the_rest, number, per_joint
from export.observation_names import Observed, block
from export.published import Published
from runtime.errors import Refused
from runtime.robot import load_robot

SLICE = "tag:yaml.org,2002:python/object/apply:builtins.slice"
TUPLE = "tag:yaml.org,2002:python/tuple"
_G1 = ("g1_29dof", "g1_23dof")
_SWITCHES = {"use_gym_history", "scale_first"}
_ANCHOR = "torso_link"
"""What its `State_Mimic.cpp` compares."""


class _Loader(yaml.SafeLoader):
    """Plain YAML, Python slices, which Isaac Lab writes for "all joints", and tuples; no other tag makes an object."""


def _slice(loader: yaml.SafeLoader, node: yaml.Node) -> slice:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.YAMLError("a slice is a list of up to three numbers")
    parts = loader.construct_sequence(node)
    if not 1 <= len(parts) <= 3 or not all(part is None or isinstance(part, int) for part in parts):
        raise yaml.YAMLError("a slice is a list of up to three numbers")
    return slice(*parts)


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.YAMLError("a tuple is a list")
    return loader.construct_sequence(node, deep=True)


_Loader.add_constructor(SLICE, _slice)
_Loader.add_constructor(TUPLE, _tuple)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; the only tags that are taken beyond plain YAML are slice and tuple.

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
        Refused: keys that are missing or have other sizes; observations that have no term; a robot that is no G1.
    """
    file = _File(data)
    robot_name = robot_name or file.guess_robot()
    robot = load_robot(robot_name)
    by_motor = {joint.motor: joint.name for joint in robot.joints}
    unknown = [motor for motor in file.ids if motor not in by_motor]
    if unknown:
        raise file.refuse("joint_ids_map", f"motor slots of {robot.name}", f"unknown {unknown}")
    joints = [by_motor[motor] for motor in file.ids]
    find_robot(robot_name, joints, file.what)
    notes: list[str] = []
    groups = file.groups()
    is_motion = any("motion" in observed.name for _, observations, _ in groups for observed in observations)
    kind = "motion" if is_motion else "velocity"
    pose = file.numbers("default_joint_pos", data["default_joint_pos"], len(joints))
    kp, kd = file.gains("stiffness", len(joints)), file.gains("damping", len(joints))
    inputs = []
    for group, observations, whole_frames in groups:
        entry: dict[str, Any] = {"name": group} if group else {}
        entry["blocks"] = [block(observations, len(joints), kind, file.what, whole_frames=whole_frames)]
        inputs.append(entry)
    content: dict[str, Any] = {
        "name": name, "source": "unitreerobotics/unitree_rl_lab layout, params/deploy.yaml",
        "kind": "tracker" if is_motion else "velocity", "robot": robot_name,
        "rate_hz": number(1 / file.step_s), "joints": joints, "default_pose": per_joint(pose),
        "gains": {"kp": per_joint(kp), "kd": per_joint(kd)}, "inputs": inputs, "action": file.action(pose, notes),
    }
    held = hold_the_rest(robot, joints, notes)
    if held:
        content["held"] = held
    if is_motion:
        content["reference"] = {"body": _ANCHOR, "align": "yaw"}
        notes.append("a tracker that follows a clip: convert the motion beside the policy (docs/clips.md) and give it "
                     "with --clip")
    else:
        content["command"] = file.command(notes)
    period = file.gait_period()
    if period is not None:
        content["phase"] = {"period_s": number(period), "offsets_rad": [0]}
    return Draft(content, notes)


class _File(Published):
    """The parsed file.

    Attributes:
        ids: motor slot of each of the policy's joints.
        step_s: control period.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__("deploy.yaml")
        self.data = data
        missing = sorted({"joint_ids_map", "step_dt", "stiffness", "damping", "default_joint_pos", "actions",
                          "observations"} - set(data))
        if missing:
            raise self.refuse("top level", "the keys of unitree_rl_lab's deploy.yaml", f"missing {', '.join(missing)}")
        self.ids = self.indices("joint_ids_map", data["joint_ids_map"], "motor indices")
        self.step_s = self.number("step_dt", data["step_dt"])
        if not 0.001 <= self.step_s <= 1:
            raise self.refuse("step_dt", "seconds from 0.001 to 1", data["step_dt"])

    def guess_robot(self) -> str:
        """The G1 with as many joints; the file does not name its robot, and other robots' slots count from 0 too."""
        for robot_name in _G1:
            slots = {joint.motor for joint in load_robot(robot_name).joints}
            if len(slots) == len(self.ids):
                return robot_name if set(self.ids) <= slots else _G1[0]
        raise Refused(f"{self.what}, joint_ids_map", expected="29 or 23 motors, as a G1 has", found=f"{len(self.ids)}",
                      what_to_do="the file does not say which robot it is for: name it with --robot "
                      "(a shipped one, or a file as in docs/robots.md)")

    def gains(self, key: str, joints: int) -> list[float]:
        """In policy order, from motor order: a list of the driven motors, or of every slot up to the last."""
        found = self.data[key]
        if isinstance(found, list) and len(found) not in (1, joints):
            if len(found) <= max(self.ids):
                raise self.refuse(key, f"{joints} numbers, one a driven motor", f"{len(found)} numbers")
            return [self.numbers(key, found, len(found))[motor] for motor in self.ids]
        values = self.numbers(key, found, joints)
        place = {motor: i for i, motor in enumerate(sorted(self.ids))}
        return [values[place[motor]] for motor in self.ids]

    def action(self, pose: list[float], notes: list[str]) -> dict[str, Any]:
        """The manifest's `action`; null means 1 as a scale and 0 as an offset."""
        joints = len(pose)
        actions = self.mapping("actions", self.data["actions"])
        if list(actions) != ["JointPositionAction"]:
            raise self.refuse("actions", "JointPositionAction alone", list(actions))
        found = self.mapping("actions.JointPositionAction", actions["JointPositionAction"])
        ids = found.get("joint_ids")
        if ids not in (None, slice(None), list(range(joints))):
            raise self.refuse("actions.joint_ids", f"all {joints} joints, in order (null)", ids)
        if found.get("scale") is None:
            notes.append("the source has no action scale: 1")
        if found.get("offset") is None and any(pose):
            notes.append("the source has no action offset: 0, as its C++ takes it; Isaac Lab trains around the default "
                         "pose unless told otherwise, see `action.offset`")
        scale = self.numbers("actions.scale", 1 if found.get("scale") is None else found["scale"], joints)
        offset = self.numbers("actions.offset", 0 if found.get("offset") is None else found["offset"], joints)
        if found.get("clip") is not None:
            notes.append("the source clips joint targets; bounds of the action itself are not in it: `action.clip` "
                         "is left out, and the gate holds targets to the joints' ranges")
        return {"scale": per_joint(scale), "offset": "default_pose" if offset == pose else per_joint(offset)}

    def groups(self) -> list[tuple[str, list[Observed], bool]]:
        """(input name or "", observations, whole frames) of each input of the network."""
        found = self.mapping("observations", self.data["observations"])
        entries = [value for key, value in found.items() if key not in _SWITCHES]
        if not entries:
            raise self.refuse("observations", "observations", found)
        first = entries[0]
        if isinstance(first, dict) and first and all(isinstance(value, dict) for key, value in first.items()
                                                     if key not in {"params", *_SWITCHES}) and "params" not in first:
            return [(name, *self._group(self.mapping(f"observations.{name}", group))) for name, group in found.items()]
        return [("", *self._group(found))]

    def _group(self, found: dict[str, Any]) -> tuple[list[Observed], bool]:
        scale_first = bool(found.get("scale_first", False))
        observations = []
        for name, value in found.items():
            if name in _SWITCHES:
                continue
            key = f"observations.{name}"
            entry = self.mapping(key, value)
            scale, clip = entry.get("scale"), self.bounds(f"{key}.clip", entry.get("clip"))
            if scale is not None:
                size = len(scale) if isinstance(scale, list) else 1
                scale = self.numbers(f"{key}.scale", scale, size)
            if clip is not None and scale_first and scale is not None:
                if len(set(scale)) != 1 or scale[0] <= 0:
                    raise self.refuse(key, "one positive scale with scale_first and a clip", scale)
                clip = (clip[0] / scale[0], clip[1] / scale[0])
            history = self.whole(f"{key}.history_length", entry.get("history_length") or 0)
            observations.append(Observed(str(name), scale, clip, max(1, history)))
        return observations, bool(found.get("use_gym_history", False))

    def command(self, notes: list[str]) -> dict[str, Any]:
        """Ranges of the velocity command."""
        commands = self.mapping("commands", self.data.get("commands"))
        ranges = next((entry["ranges"] for entry in commands.values() if isinstance(entry, dict)
                       and isinstance(entry.get("ranges"), dict)), None)
        if ranges is None:
            notes.append("the source has no command ranges: narrow ones assumed, see `command`")
            return dict(ASSUMED_COMMAND)
        out = {}
        for ours, theirs in (("vx", "lin_vel_x"), ("vy", "lin_vel_y"), ("yaw_rate", "ang_vel_z")):
            span = ranges.get(theirs)
            if not isinstance(span, list) or len(span) != 2:
                raise self.refuse(f"commands.{theirs}", "[low, high]", span)
            out[ours] = [number(x) for x in self.numbers(f"commands.{theirs}", span, 2)]
        return out

    def gait_period(self) -> float | None:
        """Of the term `gait_phase`, if there is one."""
        observations = self.mapping("observations", self.data["observations"])
        for group in (observations, *observations.values()):
            entry = group.get("gait_phase") if isinstance(group, dict) else None
            if isinstance(entry, dict):
                params = self.mapping("gait_phase.params", entry.get("params"))
                period = self.number("gait_phase.params.period", params.get("period"))
                if not 0.05 <= period <= 60:
                    raise self.refuse("gait_phase.params.period", "seconds from 0.05 to 60", period)
                return period
        return None
