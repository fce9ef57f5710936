"""What training stacks call observations, and the runtime's terms for them.

Names: Isaac Lab `mdp/observations.py`, unitreerobotics/unitree_rl_lab `deploy/include/isaaclab/envs/mdp/`,
HybridRobotics/whole_body_tracking and mjlab `tasks/tracking/mdp/observations.py`, amazon-far/holosoma
`config_values/observation.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from export.draft import number
from runtime.errors import Refused

Size = int
PER_JOINT: Size = -1
"""Stands for one value a joint."""
ESTIMATED = "base_lin_vel"
"""The term that takes an estimator."""

# their name -> our terms and the size of each
TERMS_OF: dict[str, tuple[tuple[str, Size], ...]] = {
    "base_ang_vel": (("base_ang_vel", 3),),
    "projected_gravity": (("projected_gravity", 3),),
    "velocity_commands": (("velocity_command", 3),),
    "keyboard_velocity_commands": (("velocity_command", 3),),
    "velocity_command": (("velocity_command", 3),),
    "base_velocity": (("velocity_command", 3),),
    "twist": (("velocity_command", 3),),
    "command_lin_vel": (("velocity_command_xy", 2),),
    "command_ang_vel": (("velocity_command_yaw", 1),),
    "joint_pos_rel": (("joint_pos_rel", PER_JOINT),),
    "joint_pos": (("joint_pos_rel", PER_JOINT),),
    "dof_pos": (("joint_pos_rel", PER_JOINT),),
    "joint_vel_rel": (("joint_vel", PER_JOINT),),
    "joint_vel": (("joint_vel", PER_JOINT),),
    "dof_vel": (("joint_vel", PER_JOINT),),
    "last_action": (("last_action", PER_JOINT),),
    "actions": (("last_action", PER_JOINT),),
    "gait_phase": (("phase_sin", 1), ("phase_cos", 1)),
    "sin_phase": (("phase_sin", 2),),
    "cos_phase": (("phase_cos", 2),),
    "base_lin_vel": ((ESTIMATED, 3),),
    "motion_command": (("ref_joint_pos", PER_JOINT), ("ref_joint_vel", PER_JOINT)),
    "motion_joint_pos": (("ref_joint_pos", PER_JOINT),),
    "motion_joint_vel": (("ref_joint_vel", PER_JOINT),),
    "motion_anchor_ori_b": (("ref_anchor_ori", 6),),
    "motion_ref_ori_b": (("ref_anchor_ori", 6),),
}
COMMAND = {"motion": "motion_command", "velocity": "velocity_commands"}
"""What a term called `command` is, by the kind of task."""
NOT_MEASURED = {
    "motion_anchor_pos_b": "where the base is in the world",
    "motion_ref_pos_b": "where the base is in the world",
    "body_pos": "where the base is in the world",
    "base_pos_z": "the height of the base above its start",
    "height_scan": "the ground around the robot",
}


@dataclass(frozen=True)
class Observed:
    """One observation of a training stack.

    Attributes:
        name: theirs.
        scale: one number, or one for each of its numbers; None is 1.
        clip: bounds before scaling.
        history: ticks kept, the current one included; 1 is none.
    """

    name: str
    scale: float | Sequence[float] | None = None
    clip: tuple[float, float] | None = None
    history: int = 1


def terms(observed: Observed, joints: int, kind: str, what: str) -> list[dict[str, Any]]:
    """The manifest's terms for one observation, their history left to the caller.

    Args:
        joints: how many the network drives.
        kind: "motion" or "velocity", for what it calls `command`.

    Raises:
        Refused: an observation that nothing on the robot measures, an unknown one, or a scale of another size.
    """
    name = COMMAND[kind] if observed.name in ("command", "generated_commands") else observed.name
    if name in NOT_MEASURED:
        raise Refused(f"{what}, observation {observed.name}", expected="what a robot can measure of itself",
                      found=f"one that needs {NOT_MEASURED[name]}",
                      what_to_do="export the network without it (for BeyondMimic: the task without state estimation)")
    if name not in TERMS_OF:
        raise Refused(f"{what}, observations", expected=f"names among {', '.join(sorted({*TERMS_OF, 'command'}))}",
                      found=observed.name,
                      what_to_do="write the manifest by hand (docs/controllers.md); a new kind of term is one function")
    parts = [(term, joints if size == PER_JOINT else size) for term, size in TERMS_OF[name]]
    scales = _split(observed, [size for _, size in parts], what)
    out = []
    for (term, _), scale in zip(parts, scales, strict=True):
        entry: dict[str, Any] = {"term": term, "label": observed.name}
        if term == observed.name:
            del entry["label"]
        if scale != 1:
            entry["scale"] = scale
        if observed.clip is not None:
            entry["clip"] = [number(observed.clip[0]), number(observed.clip[1])]
        out.append(entry)
    return out


def _split(observed: Observed, sizes: list[int], what: str) -> list[Any]:
    """A scale for each part; one number where all of a part's are the same."""
    scale = observed.scale
    if scale is None or isinstance(scale, (int, float)):
        return [number(1 if scale is None else scale)] * len(sizes)
    if len(scale) == 1:
        return [number(scale[0])] * len(sizes)
    if len(scale) != sum(sizes):
        raise Refused(f"{what}, scale of {observed.name}", expected=f"{sum(sizes)} numbers, or one",
                      found=f"{len(scale)}", what_to_do="is this file the network's own? Correct it there")
    out: list[Any] = []
    start = 0
    for size in sizes:
        part = [number(value) for value in scale[start : start + size]]
        out.append(part[0] if len(set(part)) == 1 else part)
        start += size
    return out


def block(observations: Sequence[Observed], joints: int, kind: str, what: str, *, whole_frames: bool = False
          ) -> dict[str, Any]:
    """A block of terms with their histories.

    Args:
        whole_frames: the history keeps whole frames together instead of each term's own.

    Raises:
        Refused: as `terms`; whole frames of terms with different histories.
    """
    lengths = {observed.history for observed in observations}
    if whole_frames and len(lengths) > 1:
        raise Refused(f"{what}, observations", expected="one history_length for whole frames",
                      found=f"{sorted(lengths)}", what_to_do="is this file the network's own?")
    entries: list[dict[str, Any]] = []
    for observed in observations:
        found = terms(observed, joints, kind, what)
        if observed.history > 1 and not whole_frames:
            if len(found) > 1:
                raise Refused(f"{what}, history of {observed.name}", expected="none, or whole frames",
                              found=f"{observed.history} ticks of two values interleaved",
                              what_to_do="write this manifest by hand")
            for entry in found:
                entry["history"] = {"length": observed.history, "order": "oldest_first", "fill": "repeat"}
        entries += found
    out: dict[str, Any] = {"terms": entries}
    if whole_frames and max(lengths) > 1:
        out["history"] = {"length": max(lengths), "order": "oldest_first", "fill": "repeat"}
    return out
