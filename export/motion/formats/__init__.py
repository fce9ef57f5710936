"""Formats of motions, one file each: what a file is recognised by, and how it becomes a motion of ours."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from export.motion.content import Content, Motion, ReadOptions, as_json, read_content
from export.motion.hands import with_hands
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

FORMATS = ("clip", "human", "amass", "gvhmr", "wham", "phalp", "tram", "omomo", "kimodo", "bvh")
"""Modules of this folder with `SUMMARY`, `recognise(content)` and `read(content, options)`."""


def format_module(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        Refused: there is none of that name.
    """
    if name not in FORMATS:
        raise Refused("--from", expected=f"one of {', '.join(FORMATS)}", found=name, what_to_do="choose one of these")
    return importlib.import_module(f"export.motion.formats.{name}")


def recognised(content: Content) -> list[str]:
    """The formats that a file may be of."""
    return [name for name in FORMATS if format_module(name).recognise(content)]


def read_motion(path: Path, source: str | None = None, options: ReadOptions | None = None) -> Motion:
    """A file's or folder's motion, its format told by its content.

    Args:
        source: the format, where the content leaves a choice.

    Raises:
        Refused: it cannot be read, is of no format or of several.
    """
    return motion_of(read_content(path), source, options or ReadOptions())


def motion_of(content: Content, source: str | None, options: ReadOptions) -> Motion:
    """The motion in a file's content; refuses as `read_motion`, whatever the content is."""
    name = content.path.name
    try:
        source = source or _told(content)
        motion: Motion = format_module(source).read(content, options)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise Refused(f"motion {name}", expected=format_module(source).SUMMARY if source else "a motion",
                      found=f"values of another kind ({type(error).__name__}: {str(error)[:160]})",
                      what_to_do="export the motion again, or choose its format with --from") from error
    if options.hands is None:
        return motion
    if not isinstance(motion, HumanMotion):
        raise Refused("hand tracks", expected="a human's motion to go with", found=f"a robot's ({source})",
                      what_to_do="give the hands when the human's motion is converted")
    return with_hands(motion, options.hands)


def _told(content: Content) -> str:
    """The one format that a content is of."""
    found = recognised(content)
    if len(found) != 1:
        raise Refused(
            f"format of {content.path.name}", expected="one format",
            found=f"{' and '.join(found)} fit" if found else f"none that fits {as_json(content)}",
            what_to_do="choose with --from" if found else
            f"known are: {'; '.join(f'{name}: {format_module(name).SUMMARY}' for name in FORMATS)}")
    return found[0]
