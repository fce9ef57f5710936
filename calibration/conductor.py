"""Runs a routine where a policy would run: the gate asks for targets, the routine's next step gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from calibration.bench import Bench, Steps, Stopped
from calibration.recording import WHOLE
from calibration.routine import Routine
from runtime.faults import BIT, FAULTS, Mode
from runtime.pilot import Phase
from runtime.records import target_dtype
from runtime.robot import Robot
from runtime.state import RobotState

RATE_HZ = 500.0


class Conductor:
    """One routine on one robot.

    Args:
        routine: prepared.
        robot: within the routine's envelope.
        is_held: whether the dead-man is held; asked once a tick while the robot is armed.
        finished: steps of the routine that an earlier part has recorded.

    Attributes:
        target: (1,) `target_dtype`, for the gate.
        phase: WAIT, READY while armed, PLAY, FINISHED.
        stopped: why the routine did not end; "" when it did, or still runs.
        is_done: it ran to its end.
    """

    def __init__(
        self, routine: Routine, robot: Robot, is_held: Callable[[], bool] = lambda: True, finished: Iterable[str] = ()
    ) -> None:
        self.bench = Bench(robot, 1 / RATE_HZ, finished)
        self.target = np.zeros(1, target_dtype(robot.motors))
        self.phase, self.stopped, self.is_done = Phase.WAIT, "", False
        self._routine, self._is_held = routine, is_held
        self._steps: Steps[None] | None = None

    def tick(self, mode: Mode, state: RobotState, now_ns: int, cause: int = -1) -> None:
        """One gate period; `cause` is the place in the fault table of what brought the gate to its mode."""
        bench, flags = self.bench, 0
        bench.state.record[0] = state.record[0]
        if mode is Mode.DISARMED:
            bench.start_from(state.q)
        elif mode is Mode.READY:
            self.phase = Phase.READY
            if not self._is_held():
                flags = self._let_go()
        elif mode is Mode.TRACK:
            flags = self._advance(now_ns)
        elif not self.stopped and not self.is_done:
            self._stop(f"{FAULTS[cause].meaning} ({FAULTS[cause].flag})" if cause >= 0
                       else f"the gate was told to go to {mode.name}")
        if self.stopped and mode < Mode.DAMP:
            flags |= BIT["POLICY_FAULT"]  # whatever the gate falls back to first, a routine ends damped
        target = self.target
        target["flags"], target["made_ns"], target["state_ns"] = flags, now_ns, state.received_ns
        target["phase"] = self.phase
        target["block"][0] = bench.target
        target["sequence"] += 1

    def _advance(self, now_ns: int) -> int:
        """The routine's next step; flags that make the gate damp at once."""
        if self.phase is Phase.FINISHED:
            return 0
        bench = self.bench
        if self._steps is None:
            self._steps, self.phase = self._routine.steps(bench), Phase.PLAY
        try:
            if not self._is_held():
                return self._let_go()
            bench.look_for_obstacles()
            bench.look_for_heat()
            next(self._steps)
        except StopIteration:
            self.is_done, self.phase = True, Phase.FINISHED
            bench.finish(WHOLE)
        except Stopped as reason:
            self._stop(str(reason))
        bench.record(now_ns)
        return 0

    def _let_go(self) -> int:
        self._stop("the dead-man was released")
        return BIT["OPERATOR_STOP"]

    def _stop(self, why: str) -> None:
        self.stopped, self.phase = why, Phase.FINISHED
        if self._steps is not None:
            self._steps.close()
