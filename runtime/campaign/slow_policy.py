"""A policy whose ticks take time, on simulated time: published when done, begun late after one that was slow."""

from __future__ import annotations

import numpy as np

from runtime.campaign.trial import Trial

USUAL_S, SLOW_S = 0.008, 0.025
"""What a tick takes: of a large network on a robot, and more than a period of 20 ms."""
USUAL_TICKS, SLOW_TICKS = 5, 2


class SlowPolicy:
    """Ticks as usual, then `SLOW_TICKS` slow ones, then as usual again."""

    def __init__(self) -> None:
        self._begun = 0
        self._is_busy = False
        self._waiting_ns: int | None = None

    @staticmethod
    def begin(trial: Trial, rng: np.random.Generator) -> None:
        """Let the policy of a trial take time from now on."""
        trial.policy_tick_instead = SlowPolicy()._due

    def _due(self, trial: Trial) -> None:
        """A period has begun: so does a tick, unless the one before is not done."""
        if self._is_busy:
            self._waiting_ns = trial.now_ns
        else:
            self._start(trial, trial.now_ns)

    def _start(self, trial: Trial, due_ns: int) -> None:
        is_slow = USUAL_TICKS <= self._begun < USUAL_TICKS + SLOW_TICKS
        self._begun += 1
        self._is_busy = True
        trial.targets_changed += is_slow
        trial.at(SLOW_S if is_slow else USUAL_S, lambda trial: self._finish(trial, due_ns))

    def _finish(self, trial: Trial, due_ns: int) -> None:
        trial.finish_late(due_ns)
        self._is_busy, waiting_ns, self._waiting_ns = False, self._waiting_ns, None
        if waiting_ns is not None:
            self._start(trial, waiting_ns)
