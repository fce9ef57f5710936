"""Motions of any file for `check` and `show`, or a shipped clip by its name; unchecked, so that faults can be told."""

from __future__ import annotations

from export.motion.content import Motion, ReadOptions
from export.motion.formats import read_motion
from runtime.clip import clip_names, find_clip
from runtime.errors import Refused
from runtime.robot import Robot


def read_any(name_or_path: str, robot: Robot, source: str | None = None) -> Motion:
    """A file's motion, or a shipped clip's by its name.

    Args:
        source: the format, where the content leaves a choice.

    Raises:
        Refused: nothing there, unreadable, or no motion.
    """
    path = find_clip(name_or_path)
    if not path.exists():
        raise Refused("motion", expected=f"a file, or one of {', '.join(clip_names())}", found=f"nothing at {path}",
                      what_to_do="check the path")
    return read_motion(path, source, ReadOptions(robot=robot))
