"""Motors for people without any: the physics behind emulated drives, and what can be wrong with them.

A drive holds tau = kp (q* - q) + kd (dq* - dq) + tau*, within its torque limit, against inertia, viscous and Coulomb
friction and two hard stops; it warms up by the square of its torque, and lets go when nobody has commanded it for as
long as its watchdog was told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
AMBIENT_C = 25.0
HEAT_C_PER_N2M2S, COOLING_PER_S = 0.02, 0.02
STOP_RAD = 12.0
HOT_C = 120.0
PAUSE_S = 0.001
"""On a bus with one pair of wires a drive lets go of half a packet when its end does not come for so long."""


@dataclass(frozen=True)
class Motor:
    """What turns: kg m^2, N m s/rad, N m, N m."""

    inertia: float = 0.01
    viscous: float = 0.05
    coulomb: float = 0.05
    torque_limit: float = 10.0


class EmulatedMotors:
    """Drives of one bus or many, in any order, on a clock that whoever steps them keeps.

    Attributes:
        q, dq, tau: (n,) rad, rad/s, N m.
        target: (n, 5) q, dq, tau, kp, kd.
        is_enabled: (n,) torque is on.
        is_dead: (n,) answers nothing: a fault knob.
        watchdog_s: (n,) 0: off.
        commanded_s: (n,) when each was last commanded.
        temperature_c: (n,).
        faults: (n,) a protocol's own codes, 0 is healthy; any takes the torque.
        let_go: (n,) how often a watchdog struck.
        holds: (n,) a watchdog that strikes stops the motor where it is, until it `is_struck` no more.
    """

    def __init__(self, motors: list[Motor]) -> None:
        n = len(motors)
        self.inertia, self.viscous, self.coulomb, self.limit = (
            np.array([getattr(motor, name) for motor in motors])
            for name in ("inertia", "viscous", "coulomb", "torque_limit")
        )
        self.q, self.dq, self.tau, self.target = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, 5))
        self.is_enabled, self.is_dead = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.watchdog_s, self.commanded_s = np.zeros(n), np.zeros(n)
        self.temperature_c = np.full(n, AMBIENT_C)
        self.faults, self.let_go = np.zeros(n, np.uint32), np.zeros(n, np.int64)
        self.holds, self.is_struck = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.now_s = 0.0

    def command(self, rows: npt.NDArray[np.intp], target: F64) -> None:
        """New targets of some drives, (m, 5), now."""
        self.target[rows], self.commanded_s[rows] = target, self.now_s

    def torque(self) -> F64:
        """(n,) what each would give now, within its limit."""
        q, dq, tau, kp, kd = self.target.T
        wanted = kp * (q - self.q) + kd * (dq - self.dq) + tau
        return np.where(self.is_enabled & (self.faults == 0), np.clip(wanted, -self.limit, self.limit), 0.0)

    def watch(self) -> None:
        """Let go where the watchdog says so, or what is too hot."""
        silent = self.is_enabled & (self.watchdog_s > 0) & (self.now_s - self.commanded_s > self.watchdog_s)
        silent &= ~self.is_struck
        stops = silent & self.holds
        self.is_struck |= stops
        self.target[stops, 0], self.target[stops, 1:3] = self.q[stops], 0
        self.is_enabled &= (~silent | self.holds) & (self.temperature_c < HOT_C)
        self.let_go += silent

    def step(self, dt_s: float) -> None:
        """Simple physics of unconnected motors."""
        self.now_s += dt_s
        self.watch()
        self.tau = self.torque()
        free = self.dq + dt_s * (self.tau - self.viscous * self.dq) / self.inertia
        brake = dt_s * self.coulomb / self.inertia
        self.dq = np.sign(free) * np.maximum(np.abs(free) - brake, 0.0)
        self.q += dt_s * self.dq
        at_stop = np.abs(self.q) > STOP_RAD
        self.q = np.clip(self.q, -STOP_RAD, STOP_RAD)
        self.dq[at_stop] = 0.0
        self.warm(dt_s)

    def warm(self, dt_s: float) -> None:
        """Heat of the torque given."""
        self.temperature_c += dt_s * (HEAT_C_PER_N2M2S * self.tau**2 - COOLING_PER_S * (self.temperature_c - AMBIENT_C))
