"""A manifest being put together from what a publisher ships: names, numbers, and what had to be assumed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import Refused
from runtime.manifest_reader import SCHEMA
from runtime.robot import NO_WIRE, Robot, load_robot, robot_names

ASSUMED_COMMAND = {"vx": [-0.5, 1.0], "vy": [-0.3, 0.3], "yaw_rate": [-0.5, 0.5]}
"""Ranges of a velocity command where a source has none: narrow, to be looked over by whoever knows the training."""
WIDTH = 116
"""Longest line of a list in a written manifest."""


@dataclass
class Draft:
    """Content of a `controller.json`, and what to tell whoever asked for it.

    Attributes:
        data: the content.
        notes: what the source does not say and was assumed, or is worth a look; a line each.
    """

    data: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The manifest as people read it: one key a line, lists filled up to the width."""
        ordered = {"schema": SCHEMA, **{key: self.data[key] for key in _ORDER if key in self.data}}
        return _write(ordered, 0) + "\n"


_ORDER = (
    "name", "description", "source", "licence", "kind", "robot", "rate_hz", "joints", "default_pose", "gains", "held",
    "model", "inputs", "outputs", "recurrent", "action", "phase", "command", "reference",
    "estimator",
)


def _write(value: Any, depth: int) -> str:
    flat = json.dumps(value)
    if len(flat) + depth <= WIDTH or not isinstance(value, (dict, list)) or not value:
        return flat
    pad, end = " " * (depth + 1), " " * depth
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key)}: {_write(part, depth + 1)}" for key, part in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{end}}}"
    if all(not isinstance(part, (dict, list)) for part in value):
        return "[\n" + _filled([json.dumps(part) for part in value], pad) + f"\n{end}]"
    return "[\n" + ",\n".join(pad + _write(part, depth + 1) for part in value) + f"\n{end}]"


def _filled(words: list[str], pad: str) -> str:
    lines, line = [], pad
    for i, word in enumerate(words):
        piece = word + ("," if i + 1 < len(words) else "")
        if len(line) + len(piece) > WIDTH and line != pad:
            lines.append(line.rstrip())
            line = pad
        line += piece + " "
    return "\n".join([*lines, line.rstrip()])


def number(value: float) -> float | int:
    """As short as it can be written without changing the float32 it stands for."""
    value = float(value)
    return int(value) if value.is_integer() and abs(value) < 1e6 else float(f"{value:.9g}")


def per_joint(values: Sequence[float]) -> Any:
    """One number where all are the same, else the list."""
    numbers = [number(value) for value in values]
    return numbers[0] if len(set(numbers)) == 1 else numbers


def find_robot(given: str | None, joints: Sequence[str], what: str) -> tuple[str, Robot]:
    """The robot these joints belong to: the one given, else the shipped one with just these or the fewest more.

    Raises:
        Refused: no robot has them.
    """
    if given is not None:
        robot = load_robot(given)
        unknown = [name for name in joints if name not in robot.order.names]
        if unknown:
            raise Refused(what, expected=f"joints of {robot.name}", found=f"unknown {', '.join(unknown)}",
                          what_to_do="choose another --robot")
        return given, robot
    robots = [(name, load_robot(name)) for name in robot_names()]
    fitting = [(name, robot) for name, robot in robots if set(joints) <= set(robot.order.names)]
    if not fitting:
        nearest = max((robot for _, robot in robots), key=lambda robot: len(set(joints) & set(robot.order.names)))
        unknown = [name for name in joints if name not in nearest.order.names]
        raise Refused(what, expected=f"joints of one of {', '.join(robot_names())}",
                      found=f"{', '.join(unknown)[:500]}, which {nearest.name} (the nearest) lacks",
                      what_to_do="another robot: describe it (`exoactor export robot`, docs/robots.md) and name the "
                      "file with --robot. The same robot by other names: write the manifest by hand with this "
                      "project's names in the network's order, without `model.metadata.joints` (docs/controllers.md)")

    def misfit(entry: tuple[str, Robot]) -> tuple[bool, bool, int]:
        count = len(entry[1].joints)
        return count != len(joints), entry[1].wire == NO_WIRE, count

    return min(fitting, key=misfit)


def hold_the_rest(robot: Robot, joints: Sequence[str], notes: list[str]) -> dict[str, dict[str, float]]:
    """`held` for the robot's joints that the network does not drive: at zero, with the robot's own gains."""
    held = {}
    for joint in robot.joints:
        if joint.name not in joints:
            at = min(max(0.0, joint.lower_rad), joint.upper_rad)
            held[joint.name] = {"q": number(at), "kp": number(joint.kp), "kd": number(joint.kd)}
    if held:
        notes.append(f"{len(held)} joints that the network does not drive are held at 0 with the robot file's own "
                     f"gains ({', '.join(held)}): check `held`")
    return held


def estimate_what_is_observed(draft: Draft) -> None:
    """Name an estimator where the observation has the base's velocity."""
    terms = [term for entry in draft.data["inputs"] for block in entry["blocks"] for term in block["terms"]]
    if any(term["term"] == "base_lin_vel" for term in terms):
        draft.data["estimator"] = "classical"
        draft.notes.append("the network is shown the base's velocity, which no sensor measures: `estimator` is "
                           "classical; a policy trained on the true velocity may stumble on an estimate")


def safe_name(text: str) -> str:
    """A manifest's name from a file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "controller"
