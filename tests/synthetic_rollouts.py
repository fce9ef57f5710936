"""Rollouts without a simulator: a base that sways over still feet, for tests of training and bundles."""

from __future__ import annotations

import numpy as np

from export.estimator_rollouts import KINDS, Rollout
from tests.planted import height_of, planted


def rollout(kind: str, seed: int, ticks: int = 60) -> Rollout:
    """One short rollout; its joint velocities lie a little, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    amplitude, phase = rng.uniform(0.1, 0.5, 2), rng.uniform(0, 6, 2)
    states, velocities = [], []
    for tick in range(ticks):
        velocity = (*(amplitude * np.sin(0.12 * tick + phase)), 0.0)
        state = planted(velocity)
        state.dq[:] *= 0.8
        states.append(state.floats.copy())
        velocities.append(velocity)
    return Rollout(kind, "g1_29dof", 50.0, np.array(states, np.float32), np.array(velocities, np.float32),
                   np.full(ticks, height_of(), np.float32), np.ones((ticks, 2), np.float32))


def rollouts(count: int = 5, seed: int = 0) -> list[Rollout]:
    """One of each kind in turn."""
    return [rollout(KINDS[i % len(KINDS)], seed + i) for i in range(count)]
