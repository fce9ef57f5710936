"""What was asked of `exoactor calibrate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIMULATED_SERIAL = "simulated"


@dataclass(frozen=True)
class Order:
    """One routine on one robot.

    Attributes:
        robot: name or file of the robot's table.
        joints: names; empty for all.
        truth: file of the simulated robot's truth, or None.
        file: the calibration file to read and write, or None: report only.
        yes: nobody is asked; with a simulated robot only.
        target, wiring, domain, interface, peers: where the robot is, as in `RunSettings`.
        lockstep: on simulated time, in this process.
        deadman: what is held while the robot moves; None with a simulated one only.
        estops, operator_bind, operator_key, terminal: as in `RunSettings`.
        real_time: ask for SCHED_FIFO and locked memory.
        parameters: of the routine itself, by the names of its constructor; what JSON can hold.
    """

    robot: str
    out: Path
    joints: tuple[str, ...] = ()
    truth: str | None = None
    file: Path | None = None
    serial: str = SIMULATED_SERIAL
    operator: str = ""
    valid_days: float = 90.0
    yes: bool = False
    target: str = "sim"
    wiring: str | None = None
    domain: int = 1
    interface: str | None = None
    peers: tuple[str, ...] = ()
    lockstep: bool = True
    deadman: str | None = None
    estops: tuple[str, ...] = ()
    operator_bind: str = "127.0.0.1:5570"
    operator_key: str | None = None
    terminal: str | None = None
    real_time: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What has to be the same for an interrupted routine to go on, as JSON has it."""
        return {
            "table": self.robot, "joints": list(self.joints), "truth": self.truth, "serial": self.serial,
            "file": None if self.file is None else str(self.file), "target": self.target, "wiring": self.wiring,
            "domain": self.domain, "interface": self.interface, "lockstep": self.lockstep,
            "parameters": dict(self.parameters),
        }
