"""Bones of a shape out of SMPL's, SMPL-H's and SMPL-X's model files, which users bring: no licence lets us ship them.

Only the joint regressor, the template and the shape directions are read, by the restricted reader: the files of old are
pickles with chumpy objects in them. Joints at rest are J_regressor (template + directions betas), as in
vchoutas/smplx `lbs.py` @ 1265df7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.content import read_npz_or_pickled
from export.motion.plain_pickle import read_in_child
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, Skeleton

F64 = npt.NDArray[np.float64]
BETAS = 10
_FALLBACKS = {"smpl": ("smpl", "smplh", "smplx"), "smplh": ("smplh", "smpl", "smplx"),
              "smplx": ("smplx", "smplh", "smpl")}
HAND_OF = {"smpl": (22, 23), "smplh": (22, 37), "smplx": (25, 40)}
"""The two joints beyond the wrists: SMPL's hands, else the index fingers' first joints."""


def find_model(folder: Path, model: str) -> tuple[Path, str]:
    """A neutral model file of the kind, or of the nearest kind that is there.

    Raises:
        Refused: there is none.
    """
    for kind in _FALLBACKS[model]:
        for pattern in (f"{kind.upper()}_NEUTRAL.*", f"*{kind}*neutral*.*", f"*{kind}*NEUTRAL*.*"):
            found = sorted(path for place in (folder, folder / kind) for path in place.glob(pattern)
                           if path.suffix in (".pkl", ".npz"))
            if found:
                return found[-1], kind
    raise Refused("--smpl-models", expected=f"a file such as {model.upper()}_NEUTRAL.npz or .pkl in {folder}",
                  found=", ".join(sorted(path.name for path in folder.glob("*"))[:10]) or "nothing",
                  what_to_do="give the folder that holds the body models (download them from their makers)")


def joints_at_rest(path: Path, betas: F64 | None) -> F64:
    """(J, 3) joints of a body model at rest with a shape, m, in SMPL's axes."""
    data = read_npz_or_pickled(path) if path.suffix == ".npz" else read_in_child(path)
    missing = [key for key in ("v_template", "shapedirs", "J_regressor") if key not in data]
    if missing:
        raise Refused(f"body model {path.name}", expected="v_template, shapedirs, J_regressor",
                      found=f"no {', '.join(missing)}", what_to_do="give a model file as its makers publish it")
    regressor, template = _dense(data["J_regressor"]), np.asarray(data["v_template"], np.float64)
    directions = np.asarray(data["shapedirs"], np.float64)[..., :BETAS]
    if regressor.shape[1] != len(template) or directions.shape[:2] != template.shape:
        raise Refused(f"body model {path.name}", expected="arrays of as many vertices",
                      found=f"{regressor.shape}, {template.shape}, {directions.shape}",
                      what_to_do="give a model file as its makers publish it")
    shape = np.zeros(directions.shape[-1])
    given = np.zeros(0) if betas is None else np.asarray(betas, np.float64).reshape(-1)
    shape[: min(len(shape), len(given))] = given[: len(shape)]
    return np.asarray(regressor @ (template + directions @ shape))


def _dense(matrix: Any) -> F64:
    """A matrix, or the parts of a sparse one by columns."""
    if not isinstance(matrix, dict):
        return np.asarray(matrix, np.float64)
    starts, rows, values = (np.asarray(matrix[key]) for key in ("indptr", "indices", "data"))
    out = np.zeros(tuple(int(size) for size in matrix["shape"]))
    np.add.at(out, (rows, np.repeat(np.arange(len(starts) - 1), np.diff(starts))), values)
    return out


def bones_of(folder: Path, model: str, betas: F64 | None) -> tuple[Skeleton, F64]:
    """Bones of a shape, and where the pelvis joint stands in the model's axes (3,)."""
    path, kind = find_model(folder, model)
    joints = joints_at_rest(path, betas)
    if len(joints) < max(HAND_OF[kind]) + 1:
        raise Refused(f"body model {path.name}", expected=f"the joints of {kind}", found=f"{len(joints)}",
                      what_to_do="give a model file as its makers publish it")
    chosen = joints[[*range(22), *HAND_OF[kind]]]
    offsets = np.zeros((len(HUMAN_JOINTS), 3))
    offsets[1:] = chosen[1:] - chosen[list(HUMAN_PARENTS[1:])]
    return Skeleton(offsets, f"{path.name}, shape of the motion"), np.asarray(joints[0])
