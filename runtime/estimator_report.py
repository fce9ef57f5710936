"""How far an estimator was from a simulator's truth in a run: the key `estimator` of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.faults import Mode

Array = npt.NDArray[Any]
TOUCHING_N = 10.0
"""A foot that the ground presses with more than this touches it."""
SETTLE_NS = 500_000_000
"""Left out after the robot began to track: the gantry has just let go."""


def estimator_errors(policy: Array, truth: Array) -> dict[str, float | None] | None:
    """While the controller drove: velocity error (root mean square of its length), height error, agreement on contacts.

    None for a run without estimator; None in place of what no truth can judge.
    """
    if "estimate" not in (policy.dtype.names or ()):
        return None
    out: dict[str, float | None] = {"velocity_rmse_m_s": None, "height_rmse_m": None, "contact_agreement": None}
    rows = policy[(policy["mode"] >= Mode.TRACK) & (policy["mode"] < Mode.DAMP)]
    if len(rows) and len(truth) > 1:
        first = max(int(rows["now_ns"][0]) + SETTLE_NS, int(truth["now_ns"][0]))
        rows = rows[(rows["now_ns"] >= first) & (rows["now_ns"] <= truth["now_ns"][-1])]
    if len(rows) == 0 or len(truth) < 2:
        return out
    said = rows["estimate"].astype(np.float64)
    in_base = np.array([
        rotation.rotate_inverse(quat, velocity)
        for quat, velocity in zip(truth["quat_wxyz"], truth["velocity"], strict=True)
    ])
    velocity = np.column_stack([np.interp(rows["now_ns"], truth["now_ns"], in_base[:, axis]) for axis in range(3)])
    height = np.interp(rows["now_ns"], truth["now_ns"], truth["position"][:, 2])
    out["velocity_rmse_m_s"] = round(float(np.sqrt(((said[:, :3] - velocity) ** 2).sum(axis=1).mean())), 4)
    out["height_rmse_m"] = round(float(np.sqrt(((said[:, 3] - height) ** 2).mean())), 4)
    if "foot_force_n" in (truth.dtype.names or ()) and (truth["foot_force_n"] >= 0).all():
        nearest = np.clip(np.searchsorted(truth["now_ns"], rows["now_ns"]), 0, len(truth) - 1)
        touching = truth["foot_force_n"][nearest] > TOUCHING_N
        out["contact_agreement"] = round(float(((said[:, 4:] > 0.5) == touching).mean()), 4)
    return out
