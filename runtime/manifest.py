"""`controller.json`: a controller as data. Everything is checked here, before a model is opened or anything moves.

docs/controllers.md describes every key for people; this file is what is enforced.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused
from runtime.observation import history_from
from runtime.robot import Index, JointOrder, Robot, load_robot
from runtime.terms import TERMS

F32 = npt.NDArray[np.float32]
SCHEMA = "exoactor-controller/1"
CONTROLLERS = Path(__file__).with_name("controllers")
F32_MAX = float(np.finfo(np.float32).max)

_TOP = {
    "schema", "name", "description", "source", "licence", "kind", "robot", "rate_hz", "joints", "default_pose",
    "gains", "held", "model", "inputs", "outputs", "recurrent", "action", "phase", "command", "reference",
}
_NEEDED = {"schema", "name", "kind", "robot", "rate_hz", "joints", "default_pose", "gains", "inputs", "action"}
_TERMS_BLOCK = {"name", "terms", "history", "sort"}
_PAST_BLOCK = {"name", "past_of", "length", "order", "fill"}
_TERM = {"term", "label", "scale", "clip", "history", "zero_joints"}


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

    @property
    def motor_index(self) -> Index:
        """Motor slot of each policy joint."""
        return self.robot.motor_index(self.order)


def controller_names() -> list[str]:
    """The manifests that ship with the runtime."""
    return sorted(path.stem for path in CONTROLLERS.glob("*.json"))


def find_manifest(name_or_path: str) -> Path:
    """A shipped name, a manifest file, or a bundle folder with `controller.json` in it."""
    path, shipped = Path(name_or_path), CONTROLLERS / f"{name_or_path}.json"
    try:
        for candidate in (path / "controller.json", path, shipped):
            if candidate.is_file():
                return candidate
    except OSError:  # a text too long for any file system
        pass
    near = difflib.get_close_matches(name_or_path, controller_names(), 1)
    raise Refused(
        "controller", expected=f"one of {', '.join(controller_names())}, a .json manifest or a bundle folder",
        found=name_or_path, what_to_do=f"did you mean {near[0]}?" if near else "check the name or the path",
    )


def load_manifest(name_or_path: str) -> Manifest:
    """Read and check a manifest.

    Raises:
        Refused: naming the key, what was expected and what was found.
    """
    path = find_manifest(name_or_path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"manifest {path.name}", expected="a JSON file", found=str(error),
                      what_to_do="correct the file") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise Refused(f"manifest {path.name}", expected=f'"schema": "{SCHEMA}"', found=f"{found}",
                      what_to_do="write the manifest as docs/controllers.md describes")
    try:
        return _Reader(path, data).manifest()
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Refused(f"manifest {path.name}", expected="the layout of docs/controllers.md",
                      found=f"{type(error).__name__}: {error}", what_to_do="correct the file") from error


class _Reader:
    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path, self.data = path, data
        self.what = f"manifest {path.name}"

    def manifest(self) -> Manifest:
        data = self.data
        self.keys("top level", data, _TOP, _NEEDED)
        robot_file = self._robot_file(self.text("robot", data["robot"]))
        robot = load_robot(robot_file)
        order = JointOrder(self.texts("joints", data["joints"]))
        robot.order.index_of(order)
        held = self.held(robot, order)
        pose = self.per_joint("default_pose", data["default_pose"], order)
        kp, kd = self.gains(robot, order)
        action = data["action"]
        self.keys("action", action, {"scale", "offset", "clip", "observed"}, {"scale"})
        offset = action.get("offset", "default_pose")
        observed = self.one_of("action.observed", action.get("observed", "raw"), ("raw", "clipped"))
        kind = self.one_of("kind", data["kind"], ("tracker", "velocity"))
        model = data.get("model", {})
        self.keys("model", model, {"file", "sha256", "source", "metadata"})
        metadata = model.get("metadata", {})
        self.keys("model.metadata", metadata, {"joints", "kp", "kd", "action_scale", "default_pose"})
        outputs = data.get("outputs", {})
        self.keys("outputs", outputs, {"action"})
        reference = data.get("reference", {})
        self.keys("reference", reference, {"idle_height_m"})
        return Manifest(
            path=self.path,
            name=self.text("name", data["name"]),
            kind=kind,
            robot=robot,
            robot_file=robot_file,
            rate_hz=self.number("rate_hz", data["rate_hz"], 1, 1000),
            order=order,
            default_pose=pose,
            kp=kp,
            kd=kd,
            held=held,
            model_file=self.text("model.file", model["file"]) if "file" in model else None,
            metadata_keys={key: self.text(f"model.metadata.{key}", name) for key, name in metadata.items()},
            model_sha256=self.text("model.sha256", model["sha256"]) if "sha256" in model else None,
            inputs=self.inputs(),
            action_output=self.text("outputs.action", outputs["action"]) if "action" in outputs else None,
            recurrent=self.recurrent(),
            action_scale=self.per_joint("action.scale", action["scale"], order),
            action_offset=pose if offset == "default_pose" else self.per_joint("action.offset", offset, order),
            action_clip=self.span("action.clip", action["clip"]) if "clip" in action else None,
            action_observed=observed,
            phase=self.phase(),
            command_ranges=self.command(kind),
            idle_height_m=self.number("reference.idle_height_m", reference.get("idle_height_m", 0.8), 0.05, 3),
        )

    def _robot_file(self, name: str) -> str:
        beside = self.path.parent / name
        return str(beside) if name.endswith(".json") and beside.is_file() else name

    def refuse(self, key: str, expected: str, found: object) -> Refused:
        return Refused(f"{self.what}, {key}", expected=expected, found=f"{found}",
                       what_to_do="correct the manifest (docs/controllers.md)")

    def keys(self, key: str, found: Any, known: set[str], needed: set[str] | None = None) -> None:
        if not isinstance(found, dict):
            raise self.refuse(key, "an object", type(found).__name__)
        unknown = sorted(set(found) - known)
        if unknown:
            raise self.refuse(key, f"keys among {', '.join(sorted(known))}", f"unknown {', '.join(unknown)}")
        missing = sorted((needed or set()) - set(found))
        if missing:
            raise self.refuse(key, f"keys {', '.join(sorted(needed or set()))}", f"missing {', '.join(missing)}")

    def one_of(self, key: str, found: Any, choices: tuple[str, ...]) -> str:
        if found not in choices:
            raise self.refuse(key, f"one of {', '.join(choices)}", found)
        return str(found)

    def text(self, key: str, found: Any) -> str:
        if not isinstance(found, str) or not found:
            raise self.refuse(key, "a text", f"{found!r}")
        return found

    def listed(self, key: str, found: Any) -> list[Any]:
        if not isinstance(found, list) or not found:
            raise self.refuse(key, "a list that is not empty", f"{found!r}")
        return found

    def texts(self, key: str, found: Any) -> tuple[str, ...]:
        return tuple(self.text(f"{key}[{i}]", name) for i, name in enumerate(self.listed(key, found)))

    def number(self, key: str, found: Any, low: float = -F32_MAX, high: float = F32_MAX) -> float:
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not low <= found <= high:
            raise self.refuse(key, f"a number from {low:g} to {high:g}", f"{found!r}")
        return float(found)

    def whole(self, key: str, found: Any, low: int, high: int) -> None:
        if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
            raise self.refuse(key, f"a whole number from {low} to {high}", f"{found!r}")

    def numbers(self, key: str, found: Any) -> tuple[float, ...]:
        """One number or a list of them."""
        listed = found if isinstance(found, list) and found else [found]
        return tuple(self.number(key, value) for value in listed)

    def span(self, key: str, found: Any) -> tuple[float, float]:
        span = self.numbers(key, found)
        if len(span) != 2 or not span[0] < span[1]:
            raise self.refuse(key, "[low, high]", found)
        return span[0], span[1]

    def per_joint(self, key: str, found: Any, order: JointOrder) -> F32:
        """One number for all, a list in policy order, or an object by joint name."""
        if isinstance(found, dict):
            JointOrder(tuple(found)).index_of(order)
            found = [found[name] for name in order.names]
        values = np.array(self.numbers(key, found), np.float32)
        if not isinstance(found, list):
            values = np.full(len(order), values[0], np.float32)
        if values.shape != (len(order),):
            raise self.refuse(key, f"one number or {len(order)}, one a joint", f"{len(values)}")
        return values

    def gains(self, robot: Robot, order: JointOrder) -> tuple[F32, F32]:
        gains = self.data["gains"]
        self.keys("gains", gains, {"kp", "kd", "order"}, {"kp", "kd"})
        given = self.one_of("gains.order", gains.get("order", "policy"), ("policy", "motor"))
        out = []
        for key, limit in (("kp", robot.kp_max), ("kd", robot.kd_max)):
            if given == "motor" and isinstance(gains[key], list):
                in_motor_order = sorted(order.names, key=lambda name: int(robot.motor_index(JointOrder((name,)))[0]))
                values = self.per_joint(f"gains.{key}", gains[key], JointOrder(tuple(in_motor_order)))
                values = values[JointOrder(tuple(in_motor_order)).index_of(order)]
            else:
                values = self.per_joint(f"gains.{key}", gains[key], order)
            if values.min() < 0 or values.max() > limit:
                raise self.refuse(f"gains.{key}", f"from 0 to {limit} ({robot.name})",
                                  f"{values.min()} to {values.max()}")
            out.append(values)
        return out[0], out[1]

    def held(self, robot: Robot, order: JointOrder) -> dict[str, tuple[float, float, float]]:
        held = self.data.get("held", {})
        rest = [joint.name for joint in robot.joints if joint.name not in order.names]
        if not isinstance(held, dict) or sorted(held) != sorted(rest):
            raise self.refuse(
                "held",
                f"each joint of {robot.name} either in `joints` or in `held` (here {', '.join(rest) or 'none'})",
                (", ".join(held) or "none") if isinstance(held, dict) else f"{held!r}",
            )
        out = {}
        for name, row in held.items():
            self.keys(f"held.{name}", row, {"q", "kp", "kd"}, {"q", "kp", "kd"})
            joint = robot.joints[int(robot.order.index_of(JointOrder((name,)))[0])]
            out[name] = (
                self.number(f"held.{name}.q", row["q"], joint.lower_rad, joint.upper_rad),
                self.number(f"held.{name}.kp", row["kp"], 0, robot.kp_max),
                self.number(f"held.{name}.kd", row["kd"], 0, robot.kd_max),
            )
        return out

    def inputs(self) -> tuple[dict[str, Any], ...]:
        inputs = self.listed("inputs", self.data["inputs"])
        for i, entry in enumerate(inputs):
            key = f"inputs[{i}]"
            self.keys(key, entry, {"name", "blocks", "clip"}, {"blocks"})
            if "name" in entry:
                self.text(f"{key}.name", entry["name"])
            if "clip" in entry:
                self.span(f"{key}.clip", entry["clip"])
            blocks = self.listed(f"{key}.blocks", entry["blocks"])
            for j, block in enumerate(blocks):
                self.block(f"{key}.blocks[{j}]", block)
            self.distinct(f"{key}: block names", [block["name"] for block in blocks if "name" in block])
            pasts = {block["past_of"] for block in blocks if "past_of" in block}
            unknown = sorted(pasts - {block.get("name") for block in blocks if "terms" in block})
            if unknown:
                raise self.refuse(f"{key}: past_of", "the `name` of a block with terms", ", ".join(unknown))
        self.distinct("inputs: names", [entry["name"] for entry in inputs if "name" in entry])
        return tuple(inputs)

    def distinct(self, key: str, names: list[str]) -> None:
        if len(set(names)) < len(names):
            raise self.refuse(key, "each name once", ", ".join(names))

    def block(self, key: str, block: Any) -> None:
        self.keys(key, block, _TERMS_BLOCK | _PAST_BLOCK)
        if ("terms" in block) == ("past_of" in block):
            raise self.refuse(key, "either `terms` or `past_of`", ", ".join(block))
        if "name" in block:
            self.text(f"{key}.name", block["name"])
        if "past_of" in block:
            self.keys(key, block, _PAST_BLOCK, {"past_of", "length"})
            self.text(f"{key}.past_of", block["past_of"])
            history_from(block)
            return
        self.keys(key, block, _TERMS_BLOCK)
        if "sort" in block:
            self.one_of(f"{key}.sort", block["sort"], ("label",))
        self.history(key, block)
        for k, term in enumerate(self.listed(f"{key}.terms", block["terms"])):
            self.term(f"{key}.terms[{k}]", term)

    def history(self, key: str, found: dict[str, Any]) -> None:
        if "history" in found:
            self.keys(f"{key}.history", found["history"], {"length", "order", "fill"}, {"length"})
            history_from(found["history"])

    def term(self, key: str, term: Any) -> None:
        found = term.get("term") if isinstance(term, dict) else term
        if not isinstance(term, dict) or not isinstance(found, str) or found not in TERMS:
            near = difflib.get_close_matches(str(found), TERMS, 1)
            raise Refused(f"{self.what}, {key}", expected=f"a term among {', '.join(sorted(TERMS))}", found=f"{found}",
                          what_to_do=f"did you mean {near[0]}?" if near else "use one of these, or add the term's kind")
        settings = TERMS[found].settings
        needed = {name for name, default in settings.items() if default is ...}
        self.keys(key, term, _TERM | set(settings), {"term"} | needed)
        if "clip" in term:
            self.span(f"{key}.clip", term["clip"])
        for name in ("scale", "value"):
            if name in term:
                self.numbers(f"{key}.{name}", term[name])
        for name in ("label", "output"):
            if name in term:
                self.text(f"{key}.{name}", term[name])
        if "zero_joints" in term:
            self.texts(f"{key}.zero_joints", term["zero_joints"])
        if "frames" in term:
            for offset in self.listed(f"{key}.frames", term["frames"]):
                self.whole(f"{key}.frames", offset, -1000, 1000)
        self.history(key, term)

    def recurrent(self) -> tuple[tuple[str, str], ...]:
        if "recurrent" not in self.data:
            return ()
        pairs = []
        for i, pair in enumerate(self.listed("recurrent", self.data["recurrent"])):
            key = f"recurrent[{i}]"
            self.keys(key, pair, {"input", "output"}, {"input", "output"})
            pairs.append((self.text(f"{key}.input", pair["input"]), self.text(f"{key}.output", pair["output"])))
        self.distinct("recurrent: inputs", [name for name, _ in pairs])
        return tuple(pairs)

    def phase(self) -> Phase | None:
        phase = self.data.get("phase")
        if phase is None:
            return None
        self.keys("phase", phase, {"period_s", "offsets_rad", "stand_threshold", "stand_rad"},
                  {"period_s", "offsets_rad"})
        return Phase(
            self.number("phase.period_s", phase["period_s"], 0.05, 60),
            self.numbers("phase.offsets_rad", self.listed("phase.offsets_rad", phase["offsets_rad"])),
            self.number("phase.stand_threshold", phase.get("stand_threshold", 0.0)),
            self.number("phase.stand_rad", phase.get("stand_rad", math.pi)),
        )

    def command(self, kind: str) -> tuple[tuple[float, float], ...] | None:
        command = self.data.get("command")
        if kind != "velocity":
            return None
        if command is None:
            raise self.refuse("command", "ranges of vx, vy, yaw_rate for a velocity controller", "nothing")
        self.keys("command", command, {"vx", "vy", "yaw_rate"}, {"vx", "vy", "yaw_rate"})
        return tuple(self.span(f"command.{key}", command[key]) for key in ("vx", "vy", "yaw_rate"))


def find_model(manifest: Manifest, given: str | None) -> Path:
    """The model file: the one given, else the bundle's own; its hash is checked when the manifest has one."""
    if given is not None:
        path = Path(given)
    elif manifest.model_file is not None:
        path = manifest.path.parent / manifest.model_file
    else:
        raise Refused(f"controller {manifest.name}", expected="a model", found="a manifest without weights",
                      what_to_do="give the ONNX file with --model FILE")
    if not path.is_file():
        raise Refused(f"model of {manifest.name}", expected="an ONNX file", found=f"no file {path}",
                      what_to_do="check the path")
    if manifest.model_sha256 is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != manifest.model_sha256:
            raise Refused(f"model {path.name}", expected=f"sha256 {manifest.model_sha256}", found=digest,
                          what_to_do="this is not the model the manifest belongs to: use the bundle's own")
    return path
