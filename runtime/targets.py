"""What `--robot` names: a target of a command's own, or the wiring file of a robot on serial ports."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from firmware_bridge.wiring import wiring_path
from runtime.settings import SERIAL

TARGETS = ("sim", "dds", "g1", "unitree-mujoco")


def target_among(targets: tuple[str, ...]) -> Callable[[str], str]:
    """The `type` of an argument that takes one of these, or a wiring file."""

    def target(text: str) -> str:
        if text not in targets and not wiring_path(text).is_file():
            raise argparse.ArgumentTypeError(
                f"{text!r}: choose from {', '.join(targets)}, or name a wiring file (.json)")
        return text

    return target


def named_target(robot: str) -> tuple[str, str | None]:
    """The target of a run's settings and, where a wiring file was named, that file."""
    return (robot, None) if robot in TARGETS else (SERIAL, str(wiring_path(robot).absolute()))
