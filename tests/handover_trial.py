"""Hand-overs in lock-step: tracker -> velocity controller -> tracker while walking, and what the robot's joints saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.recorder import settings_for
from firmware_bridge.motor_bus import KD, KP, Q
from firmware_bridge.simulated_robot import Disturbance, SimulatedRobot
from runtime.faults import Mode, flag_names
from runtime.lockstep import Lockstep
from runtime.mux import Source
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.rotation import gravity_in_base
from runtime.settings import GATE_HZ, RunSettings
from tests.scripted_operator import ScriptedOperator

FELL_BELOW_M, FELL_COS = 0.4, 0.5
NOISE = {"noise_q_rad": 0.005, "noise_dq_rad_s": 0.1, "noise_gyro_rad_s": 0.05}


@dataclass
class Steps:
    """The largest change of what is written from one gate tick to the next while tracking.

    Attributes:
        q_rad: of any joint's target; `ratio`: of the gate's rate limit, the largest over the joints.
        kp, kd: of any joint's gain.
        demanded: as `ratio`, before the gate's limits: above 1 the gate had to hold it back.
    """

    q_rad: float = 0.0
    ratio: float = 0.0
    kp: float = 0.0
    kd: float = 0.0
    demanded: float = 0.0

    def see(self, before: Any, after: Any, demanded: Any, limit: Any) -> None:
        """One more tick: (motors, 5) blocks."""
        moved = np.abs(after - before)
        self.q_rad = max(self.q_rad, float(moved[:, Q].max()))
        self.ratio = max(self.ratio, float((moved[:, Q] / limit).max()))
        self.kp, self.kd = max(self.kp, float(moved[:, KP].max())), max(self.kd, float(moved[:, KD].max()))
        self.demanded = max(self.demanded, float((np.abs(demanded[:, Q] - before[:, Q]) / limit).max()))


class OperatedRun(Lockstep):
    """A run with an operator that watches robot and commands.

    Attributes:
        fell: the pelvis below 0.4 m or tilted beyond 60 degrees while nothing damps.
        steps: of what was written, by who drove: "tracker", "steered", "hand-over".
        walked_m_s: ground speed under the velocity controller, where a trial measures it.
        modes: that the gate went through; `sources`: that steered.
    """

    def __init__(
        self, settings: RunSettings, disturbance: Disturbance | None = None, operator: ScriptedOperator | None = None
    ) -> None:
        self.operator = operator or ScriptedOperator()
        super().__init__(settings, Policy(settings), SimulatedRobot(disturbance=disturbance), operator=self.operator)
        robot = self.policy.manifest.robot
        limit = robot.column("velocity_rad_s") * robot.limits.target_rate_ratio / GATE_HZ
        self._limit = np.where(robot.used, limit, np.inf)
        self._low, self._high = robot.column("lower_rad"), robot.column("upper_rad")
        self._before: Any = None
        self.fell, self.walked_m_s = False, 0.0
        self.steps = {"tracker": Steps(), "steered": Steps(), "hand-over": Steps()}
        self.modes: list[Mode] = []
        self.sources: list[Source] = []

    def tick(self) -> None:
        super().tick()
        mode, helm = self.gate.machine.mode, self.policy.helm
        if not self.modes or self.modes[-1] is not mode:
            self.modes.append(mode)
        if not self.sources or self.sources[-1] is not helm.source:
            self.sources.append(helm.source)
        if not Mode.TRACK <= mode < Mode.DAMP:
            self._before = None
            return
        upright = -gravity_in_base(self.robot.sample.quat_wxyz)[2]
        self.fell |= bool(self.robot.base_position[2] < FELL_BELOW_M or upright < FELL_COS)
        block = self.gate.review.targets
        demanded = self.policy.target["block"][0].copy()
        demanded[:, Q] = np.clip(demanded[:, Q], self._low, self._high)
        if self._before is not None:
            driver = {0.0: "tracker", 1.0: "steered"}.get(helm.share, "hand-over")
            self.steps[driver].see(self._before, block, demanded, self._limit)
        self._before = block.copy()

    def until(self, phase: Phase) -> None:
        """Up to the moment a phase begins."""
        while self.policy.pilot.phase is not phase and not self.is_over:
            self.operate()
            self.tick()

    def go_on(self, seconds: float) -> None:
        """Some time."""
        for _ in range(round(seconds * GATE_HZ)):
            self.operate()
            self.tick()

    def speed(self, seconds: float) -> float:
        """Mean ground speed over the next seconds, m/s."""
        start = self.robot.base_position[:2].copy()
        self.go_on(seconds)
        return float(np.linalg.norm(self.robot.base_position[:2] - start)) / seconds

    @property
    def faults(self) -> list[str]:
        """Flags with a reaction that were up."""
        from runtime.faults import BIT, FLAGS

        reacting = sum(BIT[fault.flag] for fault in FLAGS if fault.reaction is not None)
        return flag_names(self.gate.seen_flags & reacting)


def operated(controller: str, clip: str, steered: dict[str, str], **more: Any) -> RunSettings:
    """Settings of a run with an operator."""
    return replace(settings_for(controller, clip=clip), teleop="network", **steered, **more)


def walk_and_hand_over(settings: RunSettings, seed: int) -> OperatedRun:
    """Tracker -> velocity controller -> tracker while walking; the seed draws noise, moments and commands."""
    draw = np.random.default_rng(seed)
    run = OperatedRun(settings, Disturbance(**NOISE, seed=seed))
    with np.errstate(all="ignore"):
        run.until(Phase.PLAY)
        run.go_on(draw.uniform(0.8, 1.8))
        command = (draw.uniform(0.3, 0.7), draw.uniform(-0.2, 0.2), draw.uniform(-0.4, 0.4))
        run.operator.engage(Source.NETWORK, command)
        run.go_on(2.0)
        run.walked_m_s = run.speed(draw.uniform(1.5, 2.5))
        run.operator.engage(Source.CLIP)
        run.go_on(3.0)
    return run
