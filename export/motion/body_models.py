"""Bones of a shape out of SMPL's, SMPL-H's and SMPL-X's model files, which users bring: no licence lets us ship them.

Only the joint regressor, the template and the shape directions are read, by the restricted reader: the files of old are
pickles with chumpy objects in them. Joints at rest are J_regressor (template + directions betas), as in
vchoutas/smplx `lbs.py` @ 1265df7.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.content import read_npz_or_pickled
from export.motion.plain_pickle import read_in_child
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, Skeleton
from runtime.npz_file import read_npz

F64 = npt.NDArray[np.float64]
BETAS = 10
BONES_FORMAT = "exoactor-bones/1"
_FALLBACKS = {"smpl": ("smpl", "smplh", "smplx"), "smplh": ("smplh", "smpl", "smplx"),
              "smplx": ("smplx", "smplh", "smpl")}
HAND_OF = {"smpl": (22, 23), "smplh": (36, 51), "smplx": (39, 54)}
"""The two joints beyond the wrists: SMPL's hands, else the thumbs' last joints, as SONIC's sender takes them."""


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


@dataclass(frozen=True)
class Bones:
    """What of a body model gives bones: joints at rest are `template + directions @ betas`, m, in SMPL's axes.

    Attributes:
        template: (J, 3).
        directions: (J, 3, B), of each shape parameter.
        kind: "smpl", "smplh" or "smplx".
        source: the model file's name and SHA-256.
    """

    template: F64
    directions: F64
    kind: str
    source: str

    def joints(self, betas: F64 | None) -> F64:
        """(J, 3) joints at rest with a shape; parameters beyond the model's are left out, missing ones are zero."""
        shape = np.zeros(self.directions.shape[-1])
        given = np.zeros(0) if betas is None else np.asarray(betas, np.float64).reshape(-1)
        shape[: min(len(shape), len(given))] = given[: len(shape)]
        return np.asarray(self.template + self.directions @ shape)


def bones_of_model(path: Path, kind: str) -> Bones:
    """The bones in a body model's file.

    Raises:
        Refused: it cannot be read or is none.
    """
    data = read_npz_or_pickled(path) if path.suffix == ".npz" else read_in_child(path)
    wanted = ("v_template", "shapedirs", "J_regressor")
    missing = [key for key in wanted if not isinstance(data, dict) or key not in data]
    if missing:
        raise _no_model(path, ", ".join(wanted), f"no {', '.join(missing)}")
    try:
        regressor, template = _dense(data["J_regressor"]), np.asarray(data["v_template"], np.float64)
        directions = np.asarray(data["shapedirs"], np.float64)[..., :BETAS]
        template, directions = regressor @ template, np.einsum("jv,vcb->jcb", regressor, directions)
    except (ValueError, TypeError, LookupError) as error:
        raise _no_model(path, "arrays of as many vertices", str(error)[:160]) from error
    return _checked(path, Bones(template, directions, kind,
                                f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"))


def save_bones(path: Path, bones: Bones) -> None:
    """Write bones alone: a small file for machines without body models. It stays under the model's licence."""
    np.savez_compressed(path, format=np.array(BONES_FORMAT), J_template=bones.template, J_shapedirs=bones.directions,
                        kind=np.array(bones.kind), source=np.array(bones.source))


def load_bones(path: Path) -> Bones:
    """Read what `save_bones` wrote.

    Raises:
        Refused: it is no such file.
    """
    arrays = read_npz(path, f"bones {path.name}")
    wanted = {"format": "U", "J_template": "f", "J_shapedirs": "f", "kind": "U", "source": "U"}
    if any(key not in arrays or arrays[key].dtype.kind not in kind for key, kind in wanted.items()) \
            or str(arrays["format"]) != BONES_FORMAT or str(arrays["kind"]) not in HAND_OF:
        raise _no_model(path, f"format {BONES_FORMAT} with {', '.join(wanted)}", ", ".join(sorted(arrays)))
    return _checked(path, Bones(arrays["J_template"].astype(np.float64), arrays["J_shapedirs"].astype(np.float64),
                                str(arrays["kind"]), str(arrays["source"])))


def _checked(path: Path, bones: Bones) -> Bones:
    joints = max(HAND_OF[bones.kind]) + 1
    if (bones.template.ndim != 2 or len(bones.template) < joints or bones.template.shape[1] != 3
            or bones.directions.ndim != 3 or bones.directions.shape[:2] != bones.template.shape
            or not (np.abs(bones.template) < 10).all() or not (np.abs(bones.directions) < 10).all()):
        raise _no_model(path, f"{joints} joints of {bones.kind} at least, finite, in m",
                        f"{bones.template.shape} and {bones.directions.shape}")
    return bones


def _no_model(path: Path, expected: str, found: str) -> Refused:
    return Refused(f"body model {path.name}", expected=expected, found=found,
                   what_to_do="give a model file as its makers publish it, or write the bones again")


def _dense(matrix: Any) -> F64:
    """A matrix, or the parts of a sparse one by columns."""
    if not isinstance(matrix, dict):
        return np.asarray(matrix, np.float64)
    starts, rows, values = (np.asarray(matrix[key]) for key in ("indptr", "indices", "data"))
    out = np.zeros(tuple(int(size) for size in matrix["shape"]))
    np.add.at(out, (rows, np.repeat(np.arange(len(starts) - 1), np.diff(starts))), values)
    return out


def bones_of(place: Path, model: str, betas: F64 | None) -> tuple[Skeleton, F64]:
    """Bones of a shape, and where the pelvis joint stands in the model's axes (3,).

    Args:
        place: a folder of body models, or a file of `save_bones`.
    """
    bones = load_bones(place) if place.is_file() else bones_of_model(*find_model(place, model))
    joints = bones.joints(betas)
    chosen = joints[[*range(22), *HAND_OF[bones.kind]]]
    offsets = np.zeros((len(HUMAN_JOINTS), 3))
    offsets[1:] = chosen[1:] - chosen[list(HUMAN_PARENTS[1:])]
    return Skeleton(offsets, f"{bones.source.split()[0]}, shape of the motion"), np.asarray(joints[0])
