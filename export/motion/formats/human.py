"""Our own human motions."""

from __future__ import annotations

from export.motion.content import Content, ReadOptions
from runtime.human_motion import FORMAT, HumanMotion, human_motion_of

SUMMARY = f"npz with `format` {FORMAT}"


def recognise(content: Content) -> bool:
    """Whether it says so."""
    return content.kind == "npz" and str(content.data.get("format")) == FORMAT


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion."""
    return human_motion_of(content.path.stem, content.data)
