"""Formats of motions, one file each: what a file is recognised by, and how it becomes a motion of ours."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from export.motion.content import Content, Motion, ReadOptions, as_json, read_content
from runtime.errors import Refused

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
    content = read_content(path)
    if source is None:
        found = recognised(content)
        if len(found) != 1:
            raise Refused(
                f"format of {path.name}", expected="one format",
                found=f"{' and '.join(found)} fit" if found else f"none that fits {as_json(content)}",
                what_to_do="choose with --from" if found else
                f"known are: {'; '.join(f'{name}: {format_module(name).SUMMARY}' for name in FORMATS)}")
        source = found[0]
    motion: Motion = format_module(source).read(content, options or ReadOptions())
    return motion
