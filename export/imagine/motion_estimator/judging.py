"""How good the motion estimator is, measured on held-out takes from their videos to settled motions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.imagine.film import RATE_HZ
from export.imagine.motion_estimator.pinhole import Pinhole, from_mujoco
from export.imagine.motion_estimator.renders import Truth, load_images, load_truth
from export.imagine.motion_estimator.settling import Settled, camera_and_body, settle
from export.imagine.motion_estimator.sight import Sight
from runtime.tracking_metrics import aligned

F64 = npt.NDArray[np.float64]
ASKED = {"mpjpe_mm": 60.0, "path_error": 0.10, "hands_right": 0.95}
SHORTEST_WAY_M = 1.0
"""Whose path error is told: of who hardly moves, a share of the way says nothing."""
Score = dict[str, float]
"""Of one video, by the keys that `compare` and `judge` tell."""


def judge(sight: Sight, paths: Sequence[Path]) -> list[Score]:
    """Figures of each held-out take; see `summary`."""
    out = []
    for path in paths:
        truth, images = load_truth(path), load_images(path)
        lens = Pinhole(images.shape[2], images.shape[1], truth.fovy_rad)
        begun = time.process_time()
        seen, each = [], []
        for image in images:
            began = time.perf_counter()
            seen.append(sight.look(image, lens))
            each.append(time.perf_counter() - began)
        down, shape = camera_and_body([seen])
        settled = settle(path.stem, RATE_HZ, seen, down, shape)
        row = compare(settled, truth)
        out.append({**row, "p50_ms": 1e3 * float(np.median(each)),
                    "cpu_s_per_s": (time.process_time() - begun) / (len(images) / RATE_HZ)})
    return out


def compare(settled: Settled, truth: Truth) -> Score:
    """A settled motion with the truth, both as the camera looks; nothing is turned but where it is said.

    mpjpe_mm: mean distance of joints, pelvis on pelvis. path_error: mean distance of pelves by the way's
    length, the path turned and moved (not scaled) onto the true one: the root translation error of WHAM and GVHMR
    (zju3dv/GVHMR @ 088caff, `hmr4d/utils/eval/eval_utils.py`). path_error_from_first: the same, first on first and not
    turned. Both NaN for a way below SHORTEST_WAY_M. hands_right: share of the hands that are seen, and not on their way
    from one state to another, that are told right; to tell nothing is wrong. hidden_told: share of hidden hands
    that are told to be hidden.
    """
    camera = from_mujoco(truth.axes)
    ahead = np.array([camera[0, 2], camera[1, 2], 0.0])
    ahead /= np.linalg.norm(ahead)
    axes = np.stack([ahead, [-ahead[1], ahead[0], 0.0], [0.0, 0.0, 1.0]])
    true = truth.motion.in_world()[0] @ axes.T
    found = settled.motion.in_world()[0]
    apart = np.linalg.norm((found - found[:, :1]) - (true - true[:, :1]), axis=2)
    path, true_path = found[:, 0], true[:, 0]
    way = float(np.linalg.norm(np.diff(true_path, axis=0), axis=1).sum())
    length = way if way >= SHORTEST_WAY_M else float("nan")
    laid_on = aligned(path[None], true_path[None], scales=False)[0]
    off = {"path_error": laid_on - true_path, "path_error_from_first": (path - path[0]) - (true_path - true_path[0])}
    states, said = truth.motion.hand_states, settled.motion.hand_states
    right = (states == said)[truth.clear & truth.seen] if states is not None and said is not None else np.zeros(0)
    hidden = (said < 0)[~truth.seen] if said is not None else np.zeros(0)
    down = float(np.arcsin(-camera[2, 2]))
    return {"mpjpe_mm": 1e3 * float(apart.mean()), "way_m": way,
            **{key: float(np.linalg.norm(rows, axis=1).mean()) / length for key, rows in off.items()},
            "hands_right": float(right.mean()) if right.size else float("nan"),
            "hidden_told": float(hidden.mean()) if hidden.size else float("nan"),
            "level_error_deg": float(np.degrees(abs(settled.down_rad - down))),
            "pitch_bias_deg": float("nan") if settled.pitch_bias_rad is None
            else float(np.degrees(settled.pitch_bias_rad))}


def summary(scores: Sequence[Mapping[str, float]]) -> Score:
    """Means over takes; medians for times."""
    out = {}
    for key in scores[0]:
        values = np.array([score[key] for score in scores])
        known = values[np.isfinite(values)]
        out[key] = float("nan") if not known.size else float(
            np.median(known) if key in ("p50_ms", "cpu_s_per_s") else known.mean())
    return out


def meets(found: Mapping[str, float]) -> bool:
    """Whether a summary is as good as asked for."""
    return bool(found["mpjpe_mm"] <= ASKED["mpjpe_mm"] and found["path_error"] <= ASKED["path_error"]
                and found["hands_right"] >= ASKED["hands_right"])
