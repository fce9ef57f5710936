"""A learned estimator as data: `estimator.json`, the counterpart of a controller's manifest (docs/estimator.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.estimator_terms import ESTIMATE_SIZE, ESTIMATOR_INPUTS
from runtime.manifest import F32
from runtime.manifest_reader import ManifestReader
from runtime.reader import Reader, parse_json
from runtime.robot import JointOrder, Robot

SCHEMA = "exoactor-estimator/1"
OUTPUTS = {"base_lin_vel": 3, "base_height": 1, "contact": 2}
"""What an estimator gives, in the order in which it stands in an estimate."""
TERMS = (
    "base_accel", "base_ang_vel", "base_quat_wxyz", "constant", "joint_pos", "joint_pos_rel", "joint_vel",
    "projected_gravity", "roll_pitch", *ESTIMATOR_INPUTS,
)
"""What an estimator may look at: the sensors, so that it serves any controller."""
_KEYS = {
    "schema", "name", "description", "source", "licence", "robot", "rate_hz", "joints", "default_pose", "model",
    "inputs", "outputs", "recurrent",
}
_NEEDED = {"schema", "name", "robot", "rate_hz", "joints", "model", "inputs"}
assert sum(OUTPUTS.values()) == ESTIMATE_SIZE


@dataclass(frozen=True)
class EstimatorManifest:
    """A checked estimator description.

    Attributes:
        order: the joints it looks at; terms over joints are in this order.
        default_pose: (n,) float32, what `joint_pos_rel` subtracts.
        inputs, recurrent: as a controller's.
        outputs: our name of each output -> the network's.
    """

    name: str
    robot: Robot
    rate_hz: float
    order: JointOrder
    default_pose: F32
    model_file: str
    model_sha256: str
    inputs: tuple[dict[str, Any], ...]
    outputs: dict[str, str]
    recurrent: tuple[tuple[str, str], ...]


class _EstimatorReader(ManifestReader):
    def estimator_manifest(self) -> EstimatorManifest:
        data = self.data
        self.keys("top level", data, _KEYS, _NEEDED)
        self.one_of("schema", data["schema"], (SCHEMA,))
        _, robot = self.robot(self.text("robot", data["robot"]))
        order = JointOrder(self.texts("joints", data["joints"]))
        robot.order.index_of(order)
        model, outputs = data["model"], data.get("outputs", {})
        self.keys("model", model, {"file", "sha256", "source"}, {"file", "sha256"})
        self.keys("outputs", outputs, set(OUTPUTS))
        return EstimatorManifest(
            name=self.text("name", data["name"]),
            robot=robot,
            rate_hz=self.number("rate_hz", data["rate_hz"], 1, 1000),
            order=order,
            default_pose=self.per_joint("default_pose", data.get("default_pose", 0.0), order),
            model_file=self.text("model.file", model["file"]),
            model_sha256=self.text("model.sha256", model["sha256"]),
            inputs=self.inputs("inputs", data["inputs"], {}),
            outputs={name: self.text(f"outputs.{name}", outputs.get(name, name)) for name in OUTPUTS},
            recurrent=self.recurrent("recurrent", data),
        )

    def term(self, key: str, term: Any) -> None:
        super().term(key, term)
        self.one_of(f"{key}.term", term["term"], TERMS)


def read_estimator(path: Path, data: bytes, beside: Mapping[str, bytes] | None = None) -> EstimatorManifest:
    """Check the bytes of an `estimator.json`.

    Args:
        path: where it lies, for names of things beside it.
        beside: files that may be used of those beside it; None for what lies there on disk.

    Raises:
        Refused: naming the key, what was expected and what was found.
    """
    reader = Reader(f"estimator {path.parent.name}", "correct the file (docs/estimator.md)")
    found = parse_json(data, reader)
    reader.keys("top level", found, _KEYS, _NEEDED)
    return _EstimatorReader(path, found, beside).estimator_manifest()
