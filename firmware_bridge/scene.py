"""Things that stand around a simulated robot, as data: simple bodies, fixed or free, merged into its plant.

    {"schema": "exoactor-scene/1",
     "objects": [{"name": "box", "shape": "box", "size_m": [0.2, 0.3, 0.15], "position_m": [0.5, 0, 0.4],
                  "yaw_rad": 0.0, "mass_kg": 0.5}]}

Sizes are whole lengths: of a box along x, y, z; of a cylinder diameter and height; of a sphere its diameter. Positions
are of the centre. What has no mass is fixed to the world.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError

F64 = npt.NDArray[np.float64]
SCHEMA = "exoactor-scene/1"
SIZES = {"box": 3, "cylinder": 2, "sphere": 1}
PREFIX = "scene/"
"""Before the names of bodies, so that an object may be called as a part of the robot."""
_FRICTION = (0.8, 0.005, 0.0001)


@dataclass(frozen=True)
class Thing:
    """One body.

    Attributes:
        shape: of SIZES. size_m: its lengths. position_m: (3,) of its centre. yaw_rad: about the vertical.
        mass_kg: None where it is fixed.
    """

    name: str
    shape: str
    size_m: tuple[float, ...]
    position_m: tuple[float, float, float]
    yaw_rad: float = 0.0
    mass_kg: float | None = None


@dataclass(frozen=True)
class Scene:
    """What stands around the robot."""

    things: tuple[Thing, ...] = ()

    def add_to(self, spec: Any) -> None:
        """Puts the bodies into a MuJoCo spec, behind the robot."""
        for thing in self.things:
            body = spec.worldbody.add_body(name=PREFIX + thing.name, pos=thing.position_m,
                                           quat=[math.cos(thing.yaw_rad / 2), 0, 0, math.sin(thing.yaw_rad / 2)])
            if thing.mass_kg is not None:
                body.add_freejoint(name=PREFIX + thing.name)
            half = [length / 2 for length in thing.size_m]
            kind = getattr(mujoco.mjtGeom, f"mjGEOM_{thing.shape.upper()}")
            body.add_geom(name=PREFIX + thing.name, type=kind, size=[*half, 0, 0][:3], friction=_FRICTION,
                          mass=thing.mass_kg or 0.0, rgba=[0.35, 0.6, 0.8, 1])

    def as_json(self) -> str:
        """What `read_scene` reads."""
        rows = [{key: value for key, value in vars(thing).items() if value is not None} for thing in self.things]
        return json.dumps({"schema": SCHEMA, "objects": rows}, indent=1)


def furnished_mjcf(plant: Path, scene: Scene, camera: str, position_m: tuple[float, float, float], axes: F64,
                   fovy_rad: float) -> str:
    """A plant's MJCF text with a scene around it and one more fixed camera, to be drawn.

    Args:
        axes: (3, 3) columns right, up and backwards of the camera in the world.
    """
    spec = mujoco.MjSpec.from_file(str(plant))
    scene.add_to(spec)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(axes).reshape(-1))
    spec.worldbody.add_camera(name=camera, pos=position_m, quat=quat, fovy=math.degrees(fovy_rad))
    spec.compile()
    return str(spec.to_xml())


def load_scene(path: Path | str) -> Scene:
    """A scene from its file.

    Raises:
        BridgeError: no such file, no JSON, or another form.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _refuse(f"{path}", "a readable JSON file", str(error)) from error
    return read_scene(data)


def read_scene(data: Any) -> Scene:
    """A scene from parsed JSON; refuses as `load_scene`."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("objects"), list):
        raise _refuse("scene", f'an object with "schema": "{SCHEMA}" and a list "objects"', f"{data!r}"[:200])
    things = tuple(_thing(f"objects[{i}]", row) for i, row in enumerate(data["objects"]))
    names = [thing.name for thing in things]
    if len(set(names)) != len(names):
        raise _refuse("objects", "names that differ", ", ".join(names))
    return Scene(things)


def _thing(key: str, row: Any) -> Thing:
    known = {"name", "shape", "size_m", "position_m", "yaw_rad", "mass_kg"}
    needed = known - {"yaw_rad", "mass_kg"}
    if not isinstance(row, dict) or not needed <= set(row) <= known or not isinstance(row["name"], str):
        raise _refuse(key, f"keys {', '.join(sorted(known))}", f"{row!r}"[:200])
    if row["shape"] not in SIZES:
        raise _refuse(f"{key}.shape", f"one of {', '.join(SIZES)}", f"{row['shape']!r}"[:200])
    size = _numbers(f"{key}.size_m", row["size_m"], SIZES[row["shape"]], 1e-3, 100)
    place = _numbers(f"{key}.position_m", row["position_m"], 3, -1000, 1000)
    (yaw,) = _numbers(f"{key}.yaw_rad", [row.get("yaw_rad", 0.0)], 1, -100, 100)
    mass = None if row.get("mass_kg") is None else _numbers(f"{key}.mass_kg", [row["mass_kg"]], 1, 1e-3, 1000)[0]
    return Thing(row["name"], row["shape"], size, (place[0], place[1], place[2]), yaw, mass)


def _numbers(key: str, found: Any, count: int, low: float, high: float) -> tuple[float, ...]:
    if (not isinstance(found, list) or len(found) != count
            or not all(type(x) in (int, float) and low <= x <= high for x in found)):
        raise _refuse(key, f"{count} numbers from {low:g} to {high:g}", f"{found!r}"[:200])
    return tuple(float(x) for x in found)


def _refuse(what: str, expected: str, found: str) -> BridgeError:
    return BridgeError(f"scene: {what}", expected=expected, found=found, what_to_do="correct the scene's file")
