"""Simulated hands: the drives' position servo on joints that weigh nothing, and what a hand may meet.

First order: at each instant the drive's torque, within its effort, equals the joint's friction, so a joint moves at a
speed and has no momentum. Right for a finger of 60 g behind a gear, and cheap. A thing in the hand is a range that the
joints cannot leave; pressed against it they stand and the torque stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from firmware_bridge.hand_bus import SIDES, HandSample, SafeHandCommand
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q, Reading

F32 = npt.NDArray[np.float32]
FRICTION_N_M_S = 0.02
"""Of a joint, N m s/rad: at full effort (1.4 N m) it would turn at 70 rad/s; the reach of a target keeps it to some."""
WATCHDOG_S = 1.0
"""Without a command for so long the drives let go, as a Dex3-1's do."""
TEMPERATURE_C = 35


@dataclass(frozen=True)
class HandTable:
    """What a simulation takes of a hand's file (`runtime/hand.py` reads and checks all of it).

    Attributes:
        bus: which wire it is on.
        lower_rad, upper_rad: (2, n) float32, left first.
        effort_n_m: (n,).
    """

    bus: str
    lower_rad: F32
    upper_rad: F32
    effort_n_m: F32


def read_hand_table(path: Path) -> HandTable:
    """The table of a hand's file.

    Raises:
        BridgeError: no such file, or another layout.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        column = {name: i for i, name in enumerate(data["joint_columns"])}

        def values(name: str) -> F32:
            return np.array([float(row[column[name]]) for row in data["joints"]], np.float32)

        return HandTable(str(data["bus"]), np.stack([values("lower_rad"), values("right_lower_rad")]),
                         np.stack([values("upper_rad"), values("right_upper_rad")]), values("effort_n_m"))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BridgeError(f"hand file {path.name}", expected="the layout of docs/hands.md",
                          found=f"{type(error).__name__}: {str(error)[:200]}", what_to_do="correct the file") from error


class SimulatedHands:
    """Both hands' joints and drives; on simulated time also the `HandBus` to them.

    Args:
        table: of the hand's file.
        period_s: of one step.

    Attributes:
        sample: as of the last step.
        connected: which hands there are. One that is taken away keeps its last command, unheard.
        room_lower_rad, room_upper_rad: (2, n) where joints can go: the ranges, less what a thing in the hand takes.
        temperature_c: (2,) of each hand's motors. motor_error: (2,).
        written: (2,) commands taken.
    """

    def __init__(self, table: HandTable, period_s: float = 0.002) -> None:
        n = len(table.effort_n_m)
        self.sample = HandSample.zeros(n)
        self.connected = [True, True]
        self.room_lower_rad, self.room_upper_rad = table.lower_rad.copy(), table.upper_rad.copy()
        self.temperature_c, self.motor_error, self.written = np.full(2, TEMPERATURE_C), np.zeros(2, np.uint32), [0, 0]
        self._effort, self._period_s = table.effort_n_m, period_s
        self._block = np.zeros((2, n, 5), np.float32)
        self._silent_s = [0.0, 0.0]
        self._is_open, self._fresh = False, [False, False]

    def hold(self, side: int, share: float) -> None:
        """Put a thing into a hand that stops each joint at a share of its way from zero to the end of its range."""
        self.room_lower_rad[side] *= share
        self.room_upper_rad[side] *= share

    def command(self, side: int, block: F32) -> None:
        """A hand's new order (n, 5), obeyed until the next or until its watchdog."""
        self._block[side] = block
        self._silent_s[side] = 0.0
        self.written[side] += 1

    def step(self) -> HandSample:
        """Advance by a period; returns `sample`."""
        sample, block, dt = self.sample, self._block, self._period_s
        for side in range(len(SIDES)):
            self._silent_s[side] += dt
            if self._silent_s[side] > WATCHDOG_S:
                block[side] = 0
        kp, kd = block[..., KP], block[..., KD]
        drive = kp * (block[..., Q] - sample.q) + kd * block[..., DQ] + block[..., TAU]
        speed = drive / (FRICTION_N_M_S + kd + kp * dt)  # implicit: stiff gains settle, they do not ring
        speed = np.clip(speed, -self._effort / FRICTION_N_M_S, self._effort / FRICTION_N_M_S)
        q = np.clip(sample.q + speed * dt, self.room_lower_rad, self.room_upper_rad)
        sample.dq[:] = (q - sample.q) / dt
        sample.q[:] = q
        sample.tau[:] = np.clip(kp * (block[..., Q] - q) + kd * (block[..., DQ] - sample.dq) + block[..., TAU],
                                -self._effort, self._effort)
        sample.temperature_c[:] = self.temperature_c[:, None]
        sample.motor_error[:] = self.motor_error[:, None]
        self._fresh = list(self.connected)
        return sample

    def read(self, side: int) -> Reading:
        """As a bus: NEW once a step from a hand that is there."""
        fresh, self._fresh[side] = self._fresh[side], False
        return Reading.NEW if fresh else Reading.NONE

    def open_writers(self) -> None:
        """As a bus."""
        self._is_open = True

    def write(self, side: int, command: SafeHandCommand) -> bool:
        """As a bus."""
        if not self._is_open:
            return False
        if self.connected[side]:
            self.command(side, command.block[side] if command.enabled[side] else np.zeros_like(command.block[side]))
        return True

    def other_writers(self, side: int) -> list[str]:
        """As a bus: nobody."""
        return []

    def close(self) -> None:
        """As a bus."""
