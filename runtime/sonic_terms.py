"""Terms of controllers that encode a reference before they act: SONIC, and what it brought.

Formulas: NVlabs/GR00T-WholeBodyControl @ 1983e88, the Gather... functions of `gear_sonic_deploy/src/g1/
g1_deploy_onnx_ref/src/g1_deploy_onnx_ref.cpp`. Importing this module registers the terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime import rotation
from runtime.channels import known_channel
from runtime.errors import Refused
from runtime.heading import ROOTS, Heading, heading_of, root_quat
from runtime.terms import F32, TERMS, Source, Term, TickInputs, joint_index, reference_offsets

LEFT = ("base", "heading", "refheading")


def _choice(term: str, key: str, found: Any, choices: tuple[str, ...]) -> str:
    if found not in choices:
        raise Refused(f"`{key}` of term {term}", expected=f"one of {', '.join(choices)}", found=f"{found}",
                      what_to_do="correct the manifest")
    return str(found)


def _root_channel(settings: dict[str, Any]) -> tuple[str, ...]:
    channel = ROOTS.get(settings["of"])
    return () if channel is None else (channel,)


def _left(inputs: TickInputs, left: str, heading: Heading, first: Any) -> Any:
    """conj(left) * turn, one rotation that every frame shares."""
    if left == "base":
        return rotation.multiply(rotation.conjugate(inputs.quat_wxyz), rotation.quat_about_z(heading.turn_rad))
    if left == "heading":
        return rotation.quat_about_z(heading.turn_rad - rotation.heading_rad(inputs.quat_wxyz))
    return rotation.quat_about_z(-rotation.heading_rad(first))


def _anchor(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    of = _choice("ref_anchor_6d", "of", settings["of"], tuple(ROOTS))
    left = _choice("ref_anchor_6d", "left", settings["left"], LEFT)
    offsets, heading = reference_offsets(settings), heading_of(inputs, of)
    roots = [root_quat(inputs, of, offset) for offset in offsets]

    def write(out: F32) -> None:
        shared = _left(inputs, left, heading, roots[0])
        out[:] = [x for root in roots for x in rotation.two_columns(rotation.multiply(shared, root))]

    return inputs.derive(("ref_anchor_6d", of, left, offsets), 6 * len(offsets), write)


def _heading(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    of = _choice("ref_heading_6d", "of", settings["of"], tuple(ROOTS))
    heading, root = heading_of(inputs, of), root_quat(inputs, of, 0)

    def write(out: F32) -> None:
        angle = heading.turn_rad + rotation.heading_rad(root) - rotation.heading_rad(inputs.quat_wxyz)
        out[:] = rotation.two_columns(rotation.quat_about_z(angle))

    return inputs.derive(("ref_heading_6d", of), 6, write)


def _channel(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    name, parts, size = settings["channel"], settings["parts"], settings["part_size"]
    width = known_channel(name, "term ref_channel").width
    index = np.arange(width)
    if parts is not None:
        if not all(isinstance(k, int) and 0 <= k < width // size for k in parts):
            raise Refused("`parts` of term ref_channel", expected=f"numbers from 0 to {width // size - 1}",
                          found=f"{parts}", what_to_do="correct the manifest")
        index = (np.array(parts)[:, None] * size + np.arange(size)).reshape(-1)
    views = [inputs.window.at(offset).channels[name] for offset in reference_offsets(settings)]

    def write(out: F32) -> None:
        for row, view in zip(out.reshape(len(views), width), views, strict=True):
            row[:] = view

    key = ("channel", name, reference_offsets(settings))
    whole = inputs.derive(key, width * len(views), write).index.reshape(len(views), width)
    return Source(whole[:, index].reshape(-1))


def _overridden(velocity: bool) -> Any:
    """All joints of each frame, the named ones replaced while the channel `upper_body` counts."""

    def make(inputs: TickInputs, settings: dict[str, Any]) -> Source:
        offsets, index = reference_offsets(settings), joint_index(inputs, settings["override"])
        now, n = inputs.window.now.channels, len(inputs.default_pose)
        active, given = now["upper_body"][:1], now["upper_body_vel"] if velocity else now["upper_body"][1:]
        if len(index) != len(given):
            raise Refused("`override` of a SONIC term", expected=f"{len(given)} joints", found=f"{len(index)}",
                          what_to_do="correct the manifest")
        frames = [inputs.window.at(offset) for offset in offsets]
        views = [frame.joint_vel if velocity else frame.joint_pos for frame in frames]

        def write(out: F32) -> None:
            rows = out.reshape(len(views), n)
            for row, view in zip(rows, views, strict=True):
                row[:] = view
            if active[0] >= 0.5:
                rows[:, index] = given

        key = ("sonic_joint", velocity, offsets, tuple(settings["override"]))
        return inputs.derive(key, n * len(views), write)

    return make


def _mode_id(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    if not inputs.modes:
        raise Refused("term mode_id", expected="a `modes` section in the manifest", found="none",
                      what_to_do="name the controller's modes")
    size = int(settings["size"])
    place = inputs.source("mode").index

    def write(out: F32) -> None:
        out[:] = 0

    return Source(np.concatenate([place, inputs.derive(("zeros", size - 1), size - 1, write).index]))


def _stage_output(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    name = stage_place(settings["stage"], settings["output"])
    if not inputs.has(name):
        raise Refused("term stage_output", expected="an output of an earlier stage",
                      found=f"{settings['output']} of stage {settings['stage']}",
                      what_to_do="name a stage that runs before, and one of its network's outputs")
    return inputs.source(name)


def stage_place(stage: str, output: str) -> str:
    """The name under which a stage's output stands among a tick's inputs."""
    return f"stage {stage}: {output}"


_UPPER = ("upper_body", "upper_body_vel")
TERMS["ref_anchor_6d"] = Term(
    _anchor, "reference root orientation seen from the robot: two columns of R, row by row (6 a frame)",
    {"frames": [0], "left": "base", "of": "root"}, _root_channel,
)
TERMS["ref_heading_6d"] = Term(
    _heading, "reference heading seen from the robot's, as such six numbers (6)", {"of": "root"}, _root_channel
)
TERMS["ref_channel"] = Term(
    _channel, "a channel of the reference, or parts of it (its width a frame)",
    {"channel": ..., "frames": [0], "parts": None, "part_size": 1}, lambda settings: (settings["channel"],),
)
TERMS["sonic_joint_pos"] = Term(
    _overridden(False), "reference joint positions, upper body as given from outside (n a frame)",
    {"frames": [0], "override": ...}, lambda settings: _UPPER,
)
TERMS["sonic_joint_vel"] = Term(
    _overridden(True), "reference joint velocities, likewise (n a frame)", {"frames": [0], "override": ...},
    lambda settings: _UPPER,
)
TERMS["mode_id"] = Term(_mode_id, "the mode's id, then zeros (size)", {"size": 4})
TERMS["stage_output"] = Term(_stage_output, "an output of an earlier stage at this tick", {"stage": ..., "output": ...})
