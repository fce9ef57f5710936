"""One injection into one healthy run: watched, timed, judged.

Times count from the last tick that was still healthy, so that the limit of the table is the longest that may pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from firmware_bridge.motor_bus import KP
from runtime.campaign.injection import Injection
from runtime.campaign.trial import Trial
from runtime.fault_table import BIT, FAULTS, FLAGS, PLACE, Fault, Where
from runtime.faults import Mode, flag_names
from runtime.lockstep import PERIOD_NS
from runtime.pilot import BLEND_OUT_S, HOLD_S

COUNTED = "counted"
REFUSED = "refused"
AFTER_S = 0.3
"""How long a run is watched after its answer, and after a counted flag."""
GRACE_S = 0.25
"""How long an answer that is late is still waited for, so that it is reported as late and not as missed."""

PHASES = 10
"""Gate ticks of which the seed draws how many pass first: every phase of a policy's and of the operator's period."""
LONGEST_ONSET_NS = 4_000_000_000
"""How long after its injection a fault may first be there: a push takes a second to topple a robot."""


@dataclass
class Outcome:
    """One run of the campaign.

    Attributes:
        fault: what is wrong, in words; how: how it was brought about.
        injected_t: simulated time of the fault, s; detected_s, reacted_s: after it, None for never.
        limit_s: the table's; None where it is no matter of time.
        reaction, expected: a mode, "counted", "refused" or "none".
        outcome: upright, damped, refused, fell or missed.
        by_flag: only the reaction was tried.
        why: what is wrong with the answer; "" when ok.
    """

    row: int
    flag: str
    fault: str
    how: str
    motion: str
    seed: int
    injected_t: float
    limit_s: float | None
    expected: str
    reaction: str = "none"
    detected_s: float | None = None
    reacted_s: float | None = None
    outcome: str = "missed"
    by_flag: bool = False
    ok: bool = False
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def expected_of(fault: Fault) -> str:
    """The answer that the table gives for a flag."""
    if fault.where is Where.START:
        return REFUSED
    return COUNTED if fault.reaction is None else fault.reaction.name


class Judge:
    """Watches one trial from its injection on."""

    def __init__(self, trial: Trial, injection: Injection, motion: str, seed: int) -> None:
        self._trial, self._injection = trial, injection
        self._fault = FAULTS[PLACE[injection.flag]]
        self._bit = BIT[injection.flag]
        self._start_ns, self._began_ns = 0, trial.now_ns
        self._is_there = False
        self._modes: list[Mode] = []
        self._stiff_after_damp = 0
        self.outcome = Outcome(
            injection.row, injection.flag, self._fault.meaning, injection.how, motion, seed, 0.0,
            self._fault.detect_s, expected_of(self._fault), by_flag=injection.by_flag,
        )

    def run(self, rng: np.random.Generator) -> Outcome:
        """Inject and watch to the end."""
        trial, injection, outcome = self._trial, self._injection, self.outcome
        for _ in range(int(rng.integers(PHASES))):
            trial.tick()
        before = trial.gate.machine.mode
        self._began_ns = trial.now_ns
        injection.begin(trial, rng)
        while True:
            last_ns = trial.now_ns
            if not self._is_there and self._has_begun(last_ns):
                self._is_there, self._start_ns = True, last_ns
                outcome.injected_t = round(trial.robot.time_s, 3)
            trial.tick()
            if not self._is_there and injection.onset is not None and injection.onset(trial):
                self._is_there, self._start_ns = True, last_ns
                outcome.injected_t = round(trial.robot.time_s - PERIOD_NS * 1e-9, 3)
            self._look()
            if self._is_over():
                break
        outcome.why = self._judge(before)
        outcome.ok = not outcome.why
        return outcome

    def _has_begun(self, now_ns: int) -> bool:
        if self._injection.onset is not None:
            return False
        return now_ns - self._began_ns >= round(self._injection.lead_s * 1e9)

    def _look(self) -> None:
        trial, outcome = self._trial, self.outcome
        mode = trial.gate.machine.mode
        if not self._modes or self._modes[-1] is not mode:
            self._modes.append(mode)
        if mode >= Mode.DAMP:
            trial.arm_again()
            if trial.command is not None and trial.command.block[:, KP].any():
                self._stiff_after_damp += 1
        elapsed_s = (trial.now_ns - self._start_ns) * 1e-9
        if not self._is_there:
            return
        if outcome.detected_s is None and trial.gate.flags & self._bit:
            outcome.detected_s = round(elapsed_s, 6)
        if outcome.reacted_s is None and self._fault.reaction is not None and mode >= self._fault.reaction:
            outcome.reacted_s, outcome.reaction = round(elapsed_s, 6), mode.name

    def _is_over(self) -> bool:
        trial, fault, outcome = self._trial, self._fault, self.outcome
        mode = trial.gate.machine.mode
        if not self._is_there:  # a push that did not topple it, say
            return trial.now_ns - self._began_ns > LONGEST_ONSET_NS
        elapsed_s = (trial.now_ns - self._start_ns) * 1e-9
        limit_s = fault.detect_s or 0.0
        is_late = elapsed_s > limit_s + GRACE_S
        is_seen = outcome.detected_s is not None or is_late
        if fault.reaction is None:
            seen_s = outcome.detected_s if outcome.detected_s is not None else limit_s + GRACE_S
            return is_seen and elapsed_s > seen_s + AFTER_S
        if outcome.reacted_s is None:
            return is_late
        if mode >= Mode.DAMP:
            return is_seen and elapsed_s > outcome.reacted_s + AFTER_S
        whole_s = (HOLD_S if fault.reaction is Mode.HOLD else 0.0) + BLEND_OUT_S + AFTER_S
        return elapsed_s > outcome.reacted_s + whole_s or trial.has_fallen

    def _judge(self, before: Mode) -> str:
        """What is wrong with the answer; "" for nothing."""
        trial, fault, outcome = self._trial, self._fault, self.outcome
        mode, limit_s = trial.gate.machine.mode, fault.detect_s
        is_damped = mode >= Mode.DAMP
        outcome.outcome = "damped" if is_damped else "fell" if trial.has_fallen else "upright"
        if not self._is_there:
            return "the injection did not bring the fault about"
        if outcome.detected_s is None:
            outcome.outcome = "missed" if not is_damped else outcome.outcome
            return f"never noticed; up were {', '.join(flag_names(trial.gate.seen_flags)) or 'no flags'}"
        if limit_s is not None and outcome.detected_s > limit_s + 1e-9:
            return f"noticed after {outcome.detected_s * 1000:.0f} ms, limit {limit_s * 1000:.0f} ms"
        modes = [one for one in self._modes if one is not before]
        if fault.reaction is None:
            outcome.reaction = COUNTED if not modes else modes[-1].name
            if modes:
                cause = trial.gate.machine.cause
                return f"went to {modes[-1].name} because of {FLAGS[cause].flag if cause >= 0 else 'an operator'}"
            return "fell" if trial.has_fallen else ""
        if outcome.reacted_s is None:
            return f"no reaction: {mode.name}"
        if limit_s is not None and outcome.reacted_s > limit_s + 1e-9:
            return f"reacted after {outcome.reacted_s * 1000:.0f} ms, limit {limit_s * 1000:.0f} ms"
        if self._stiff_after_damp:
            return f"{self._stiff_after_damp} stiff commands after damping"
        if modes[-1] is not fault.reaction:
            outcome.reaction = modes[-1].name
            cause = trial.gate.machine.cause
            return f"ended in {modes[-1].name} because of {FLAGS[cause].flag if cause >= 0 else 'an operator'}"
        if not is_damped and trial.has_fallen:
            return "fell while it should stand"
        return ""
