"""How good an estimator is, measured on rollouts it was not made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from export.estimator_rollouts import KINDS, Rollout
from runtime.estimator import Estimator
from runtime.state import RobotState

F64 = npt.NDArray[np.float64]
WARM_UP_S = 0.5
"""Left out at the start of each rollout: an estimator that begins in mid-air has the right to settle."""
COLUMNS = ("velocity_rmse_m_s", "height_rmse_m", "contact_agreement")
Score = dict[str, float]


def estimate(estimator: Estimator, rollout: Rollout, motors: int) -> F64:
    """(T, 6) what a reset estimator says along a rollout."""
    state = RobotState(motors)
    out = np.zeros((len(rollout.states), len(estimator.values)))
    estimator.reset()
    for i, floats in enumerate(rollout.states):
        state.floats[:] = floats
        estimator.update(state)
        out[i] = estimator.values
    estimator.reset()
    return out


def score(said: F64, velocity: F64, height: F64, contact: F64) -> Score:
    """What `COLUMNS` name. The velocity error is the length of the error vector; contacts are told apart at 0.5."""
    apart = said[:, :3] - velocity
    return {
        "velocity_rmse_m_s": float(np.sqrt((apart**2).sum(axis=1).mean())),
        "height_rmse_m": float(np.sqrt(((said[:, 3] - height) ** 2).mean())),
        "contact_agreement": float(((said[:, 4:] > 0.5) == (contact > 0.5)).mean()),
    }


def evaluate(estimator: Estimator, rollouts: Sequence[Rollout], motors: int) -> dict[str, Score]:
    """Scores by kind of rollout, and of all of `walk`, `turn`, `squat`, `push` together under `all`."""
    told: dict[str, list[tuple[F64, F64, F64, F64]]] = {}
    for rollout in rollouts:
        start = round(WARM_UP_S * rollout.rate_hz)
        said = estimate(estimator, rollout, motors)
        rows = tuple(
            np.asarray(part[start:], np.float64) for part in (said, rollout.velocity, rollout.height, rollout.contact)
        )
        told.setdefault(rollout.kind, []).append((rows[0], rows[1], rows[2], rows[3]))
    judged = [rows for kind in KINDS[:4] for rows in told.get(kind, [])]
    groups = {**{kind: told[kind] for kind in KINDS if kind in told}, **({"all": judged} if judged else {})}
    return {
        kind: score(*(np.concatenate([row[i] for row in rows]) for i in range(4))) for kind, rows in groups.items()
    }


def table(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """Estimators side by side, as text: a line a kind of rollout."""
    names = list(scores)
    kinds = list(next(iter(scores.values())))
    head = f"{'':8}" + "".join(f"{name[:28]:^30}" for name in names)
    below = f"{'rollouts':8}" + "".join(f"{'velocity':>10}{'height':>10}{'contact':>10}" for _ in names)
    units = f"{'':8}" + "".join(f"{'m/s':>10}{'m':>10}{'':>10}" for _ in names)
    lines = [
        f"{kind:8}" + "".join(
            f"{scores[name][kind]['velocity_rmse_m_s']:10.4f}{scores[name][kind]['height_rmse_m']:10.4f}"
            f"{scores[name][kind]['contact_agreement']:10.3f}" for name in names
        ) for kind in kinds
    ]
    return "\n".join([head, below, units, *lines])
