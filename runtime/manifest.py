"""A controller as data, and where its files are. `manifest_reader.py` reads `controller.json` into it."""

from __future__ import annotations

import difflib
import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.embedded import Embedded
from runtime.errors import Refused
from runtime.robot import Index, JointOrder, Robot

F32 = npt.NDArray[np.float32]
CONTROLLERS = Path(__file__).with_name("controllers")
OWN_CONTROLLER = "g1-tracker"
"""What runs when none is named: a bundle of our own making (docs/distill.md)."""


@dataclass(frozen=True)
class Phase:
    """A gait clock: one phase a foot, rad, advanced before each observation and wrapped to [-pi, pi].

    With `stand_threshold` > 0 the phases rest at `stand_rad` while the command's norm is below it, and start again from
    the offsets when it leaves.
    """

    period_s: float
    offsets_rad: tuple[float, ...]
    stand_threshold: float = 0.0
    stand_rad: float = math.pi


@dataclass(frozen=True)
class Stage:
    """A network that runs before the main one, each tick.

    Attributes:
        name: what `stage_output` terms call it.
        inputs, recurrent: as the manifest's own.
        modes: in which of the controller's modes it runs; None is every mode.
        instead: output -> reference channel its value is taken from in the other modes.
    """

    name: str
    model_file: str | None
    model_sha256: str | None
    inputs: tuple[dict[str, Any], ...]
    recurrent: tuple[tuple[str, str], ...] = ()
    modes: tuple[str, ...] | None = None
    instead: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """A checked controller description. Arrays over joints are in POLICY order.

    Attributes:
        action_scale, action_offset, kp, kd, default_pose: (n,) float32.
        action_clip: bounds of the raw action, or None.
        action_observed: "raw" or "clipped", what `last_action` shows.
        robot_file: name or path `robot` was read from.
        held: joints outside the policy: name -> (q, kp, kd).
        metadata_keys: which of the model's own metadata count, ours -> theirs (`model_metadata.py`).
        inputs: per model input: name or None for the only one, blocks, clip.
        action_output: name of the output that is the action, or None for the first.
        recurrent: pairs (input, output) of hidden state, zero at reset.
        command_ranges: [-, +] of vx, vy (m/s), yaw rate (rad/s); None for a tracker.
        idle_height_m: root height of the standing reference.
        stages: networks that run before the main one, in their order.
        modes: name -> id; empty for a controller without. The first is the one a run starts in unless told.
        idle_channels: channel -> what the standing reference holds there.
        rest_at_end: reference velocities are zero at and after a motion's last frame.
        kp_factor, kd_factor: (n,) float32, already in `kp` and `kd`; gains that the network brings are multiplied too.
        estimator: what `base_lin_vel`, `base_height` and `contact` are read from: classical, or an estimator's name or
            folder.
        embedded: where the reference stands in the network; None where it comes from a clip.
        anchor: the body that anchor terms compare, "" where neither manifest nor robot names one.
        align: "yaw" or "none": whether robot and reference begin with the same heading.
        layout_id: name of the published layout the inputs follow, "" where none is claimed (`layouts.py`).
        model_activation: between the layers of a checkpoint's actor, for its conversion only.
        keeps_place: what it is told of velocities is to keep the robot at its reference's place (`root_feedback.py`).
    """

    path: Path
    name: str
    kind: str
    robot: Robot
    robot_file: str
    rate_hz: float
    order: JointOrder
    default_pose: F32
    kp: F32
    kd: F32
    held: dict[str, tuple[float, float, float]]
    model_file: str | None
    model_sha256: str | None
    metadata_keys: dict[str, str]
    inputs: tuple[dict[str, Any], ...]
    action_output: str | None
    recurrent: tuple[tuple[str, str], ...]
    action_scale: F32
    action_offset: F32
    action_clip: tuple[float, float] | None
    action_observed: str
    phase: Phase | None
    command_ranges: tuple[tuple[float, float], ...] | None
    idle_height_m: float
    stages: tuple[Stage, ...] = ()
    modes: dict[str, int] = field(default_factory=dict)
    idle_channels: dict[str, tuple[float, ...]] = field(default_factory=dict)
    rest_at_end: bool = True
    kp_factor: F32 | None = None
    kd_factor: F32 | None = None
    layout_id: str = ""
    estimator: str | None = None
    embedded: Embedded | None = None
    anchor: str = ""
    align: str = "yaw"
    model_activation: str | None = None
    keeps_place: bool = False

    @property
    def model_files(self) -> tuple[tuple[str, str | None], ...]:
        """(file, sha256) of every network the manifest names, the stages' first."""
        rows = [(stage.model_file, stage.model_sha256) for stage in self.stages]
        rows.append((self.model_file, self.model_sha256))
        return tuple((file, sha256) for file, sha256 in rows if file is not None)

    @property
    def motor_index(self) -> Index:
        """Motor slot of each policy joint."""
        return self.robot.motor_index(self.order)


def controller_names() -> list[str]:
    """The manifests and bundles that ship with the runtime."""
    bundles = [path.parent.name for path in CONTROLLERS.glob("*/controller.json")]
    return sorted([*bundles, *(path.stem for path in CONTROLLERS.glob("*.json"))])


def find_manifest(name_or_path: str) -> Path:
    """A manifest file, a bundle folder with `controller.json` in it, or the name of a shipped one of either kind."""
    path, shipped = Path(name_or_path), CONTROLLERS / name_or_path
    try:
        for candidate in (path / "controller.json", path, shipped / "controller.json", Path(f"{shipped}.json")):
            if candidate.is_file():
                return candidate
        if path.is_dir() and name_or_path:
            raise Refused(f"controller {path.name}", expected="a controller.json in the folder", found="none",
                          what_to_do="give the folder of a bundle, or get the bundle again")
    except OSError:  # a text too long for any file system
        pass
    near = difflib.get_close_matches(name_or_path, controller_names(), 1)
    raise Refused(
        "controller", expected=f"one of {', '.join(controller_names())}, a .json manifest or a bundle folder",
        found=name_or_path, what_to_do=f"did you mean {near[0]}?" if near else "check the name or the path",
    )


def find_model(manifest: Manifest, given: str | None) -> Path:
    """The model file: the one given, else the bundle's own; its hash is checked when the manifest has one."""
    if given is not None:
        path = Path(given)
    elif manifest.model_file is not None:
        path = manifest.path.parent / manifest.model_file
    else:
        raise Refused(f"controller {manifest.name}", expected="a model", found="a manifest without weights",
                      what_to_do="give the ONNX file with --model FILE")
    return _checked(path, f"model of {manifest.name}", manifest.model_sha256)


def find_stage_model(manifest: Manifest, stage: Stage) -> Path:
    """The model file of a stage, checked likewise."""
    if stage.model_file is None:
        raise Refused(f"stage {stage.name} of {manifest.name}", expected="`model.file`", found="none",
                      what_to_do="name the stage's ONNX file beside the manifest")
    path = manifest.path.parent / stage.model_file
    return _checked(path, f"model of stage {stage.name} of {manifest.name}", stage.model_sha256)


def _checked(path: Path, what: str, sha256: str | None) -> Path:
    if not path.is_file():
        raise Refused(what, expected="an ONNX file", found=f"no file {path}", what_to_do="check the path")
    if sha256 is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != sha256:
            raise Refused(f"model {path.name}", expected=f"sha256 {sha256}", found=digest,
                          what_to_do="this is not the model the manifest belongs to: use the bundle's own")
    return path
