"""Reads a `controller.json` key by key into a `Manifest`. docs/controllers.md describes every key for people."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import runtime.anchor_terms
import runtime.estimator_terms
import runtime.sonic_terms  # noqa: F401  (these register their terms)
from runtime.bundle import ESTIMATOR
from runtime.channels import CHANNELS
from runtime.embedded import KEYS as EMBEDDED_KEYS
from runtime.embedded import read_anchor, read_embedded
from runtime.errors import Refused
from runtime.joint_reader import JointReader
from runtime.manifest import Manifest, Phase, Stage, find_manifest
from runtime.observation import history_from
from runtime.reader import Reader, parse_json
from runtime.robot import JointOrder, Robot, load_robot, read_robot, robot_names
from runtime.terms import TERMS

SCHEMA = "exoactor-controller/1"
_TOP = {
    "schema", "name", "description", "source", "licence", "kind", "robot", "rate_hz", "joints", "default_pose",
    "gains", "held", "model", "inputs", "outputs", "recurrent", "action", "phase", "command", "reference",
    "stages", "modes", "layout", "estimator",
}
_NEEDED = {"schema", "name", "kind", "robot", "rate_hz", "joints", "default_pose", "gains", "inputs", "action"}
_REFERENCE = {"idle_height_m", "idle_channels", "at_end", "source", "body", "align", "keep_place"}
_METADATA = {"joints", "kp", "kd", "action_scale", "default_pose", "body", "bodies"}
_TERMS_BLOCK = {"name", "terms", "history", "sort", "modes"}
_PAST_BLOCK = {"name", "past_of", "length", "order", "fill"}
_TERM = {"term", "label", "scale", "clip", "history", "zero_joints", "modes"}
_TERM_TEXTS = {"label", "output", "stage", "channel", "left", "of"}
_TERM_LISTS = {"zero_joints", "joints", "override"}


class ManifestReader(JointReader):
    """One manifest being read.

    Args:
        path: the file, for names of things beside it.
        data: its parsed content.
        beside: the files that may be used of those beside it, by name; None for what lies there on disk.
    """

    def __init__(self, path: Path, data: dict[str, Any], beside: Mapping[str, bytes] | None = None) -> None:
        super().__init__(f"manifest {path.name}", "correct the manifest (docs/controllers.md)")
        self.path, self.data, self.beside = path, data, beside

    def manifest(self) -> Manifest:
        """The checked manifest."""
        data = self.data
        self.keys("top level", data, _TOP, _NEEDED)
        robot_file, robot = self.robot(self.text("robot", data["robot"]))
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
        self.keys("model", model, {"file", "sha256", "source", "metadata", "activation"})
        metadata = model.get("metadata", {})
        self.keys("model.metadata", metadata, _METADATA)
        outputs = data.get("outputs", {})
        self.keys("outputs", outputs, {"action"})
        reference = data.get("reference", {})
        self.keys("reference", reference, _REFERENCE | EMBEDDED_KEYS)
        embedded = read_embedded(self, reference)
        at_end = self.one_of("reference.at_end", reference.get("at_end", "rest"), ("rest", "last"))
        kp_factor, kd_factor = self.factor("kp_factor", order), self.factor("kd_factor", order)
        modes = self.modes()
        return Manifest(
            path=self.path,
            name=self.text("name", data["name"]),
            kind=kind,
            robot=robot,
            robot_file=robot_file,
            rate_hz=self.number("rate_hz", data["rate_hz"], 1, 1000),
            order=order,
            default_pose=pose,
            kp=kp if kp_factor is None else kp * kp_factor,
            kd=kd if kd_factor is None else kd * kd_factor,
            held=held,
            model_file=self.text("model.file", model["file"]) if "file" in model else None,
            metadata_keys={key: self.text(f"model.metadata.{key}", name) for key, name in metadata.items()},
            model_sha256=self.text("model.sha256", model["sha256"]) if "sha256" in model else None,
            inputs=self.inputs("inputs", data["inputs"], modes),
            action_output=self.text("outputs.action", outputs["action"]) if "action" in outputs else None,
            recurrent=self.recurrent("recurrent", data),
            action_scale=self.per_joint("action.scale", action["scale"], order),
            action_offset=pose if offset == "default_pose" else self.per_joint("action.offset", offset, order),
            action_clip=self.span("action.clip", action["clip"]) if "clip" in action else None,
            action_observed=observed,
            phase=self.phase(),
            command_ranges=self.command(kind),
            idle_height_m=self.number("reference.idle_height_m", reference.get("idle_height_m", 0.8), 0.05, 3),
            stages=self.stages(modes),
            modes=modes,
            idle_channels=self.idle_channels(reference.get("idle_channels", {})),
            rest_at_end=at_end == "rest",
            kp_factor=kp_factor,
            kd_factor=kd_factor,
            layout_id=self.text("layout", data["layout"]) if "layout" in data else "",
            estimator=self.estimator(),
            embedded=embedded,
            anchor=read_anchor(self, robot.bodies, reference),
            align=self.one_of("reference.align", reference.get("align", "yaw"), ("yaw", "none")),
            model_activation=self.text("model.activation", model["activation"]) if "activation" in model else None,
            keeps_place=self.flag("reference.keep_place", reference.get("keep_place", False)),
        )

    def robot(self, name: str) -> tuple[str, Robot]:
        """Where the robot's description is, and the robot."""
        if self.beside is not None and name not in (*self.beside, *robot_names()):
            raise self.refuse("robot", "a shipped robot, or a file of the bundle", name)
        beside = self.path.parent / name
        if not name.endswith(".json") or (self.beside is None and not beside.is_file()):
            return name, load_robot(name)
        if self.beside is None:
            return str(beside), load_robot(str(beside))
        return str(beside), read_robot(name, self.beside[name])

    def estimator(self) -> str | None:
        """`classical`, a shipped name, or a bundle folder: beside the manifest where there is one, else by path."""
        if "estimator" not in self.data:
            return None
        name = self.text("estimator", self.data["estimator"])
        beside = self.path.parent / name
        return str(beside) if (beside / ESTIMATOR).is_file() else name

    def modes(self) -> dict[str, int]:
        modes = self.data.get("modes", {})
        if not isinstance(modes, dict):
            raise self.refuse("modes", "an object: mode name -> id", f"{modes!r}")
        for name, number in modes.items():
            self.whole(f"modes.{name}", number, 0, 255)
        self.distinct("modes: ids", [str(number) for number in modes.values()])
        return dict(modes)

    def some_modes(self, key: str, found: Any, modes: dict[str, int]) -> None:
        """A list of the controller's modes; an empty one is never."""
        if not isinstance(found, list) or not all(isinstance(name, str) and name in modes for name in found):
            raise self.refuse(key, f"a list of modes among {', '.join(modes) or 'none'}", f"{found!r}")

    def stages(self, modes: dict[str, int]) -> tuple[Stage, ...]:
        if "stages" not in self.data:
            return ()
        stages = []
        for i, stage in enumerate(self.listed("stages", self.data["stages"])):
            key = f"stages[{i}]"
            self.keys(key, stage, {"name", "model", "inputs", "recurrent", "modes", "instead"}, {"name", "inputs"})
            model, instead = stage.get("model", {}), stage.get("instead", {})
            self.keys(f"{key}.model", model, {"file", "sha256", "source"})
            if "modes" in stage:
                self.some_modes(f"{key}.modes", stage["modes"], modes)
            self.keys(f"{key}.instead", instead, set(instead))
            for output, channel in instead.items():
                self.one_of(f"{key}.instead.{output}", channel, tuple(CHANNELS))
            stages.append(Stage(
                self.text(f"{key}.name", stage["name"]),
                self.text(f"{key}.model.file", model["file"]) if "file" in model else None,
                self.text(f"{key}.model.sha256", model["sha256"]) if "sha256" in model else None,
                self.inputs(f"{key}.inputs", stage["inputs"], modes),
                self.recurrent(f"{key}.recurrent", stage),
                tuple(stage["modes"]) if "modes" in stage else None,
                dict(instead),
            ))
        self.distinct("stages: names", [stage.name for stage in stages])
        return tuple(stages)

    def idle_channels(self, found: Any) -> dict[str, tuple[float, ...]]:
        key = "reference.idle_channels"
        self.keys(key, found, set(CHANNELS))
        out = {}
        for name, values in found.items():
            out[name] = self.numbers(f"{key}.{name}", values)
            if len(out[name]) != CHANNELS[name].width:
                raise self.refuse(f"{key}.{name}", f"{CHANNELS[name].width} numbers", f"{len(out[name])}")
        return out

    def inputs(self, where: str, found: Any, modes: dict[str, int]) -> tuple[dict[str, Any], ...]:
        inputs = self.listed(where, found)
        for i, entry in enumerate(inputs):
            key = f"{where}[{i}]"
            self.keys(key, entry, {"name", "blocks", "clip"}, {"blocks"})
            if "name" in entry:
                self.text(f"{key}.name", entry["name"])
            if "clip" in entry:
                self.span(f"{key}.clip", entry["clip"])
            blocks = self.listed(f"{key}.blocks", entry["blocks"])
            for j, block in enumerate(blocks):
                self.block(f"{key}.blocks[{j}]", block, modes)
            self.distinct(f"{key}: block names", [block["name"] for block in blocks if "name" in block])
            pasts = {block["past_of"] for block in blocks if "past_of" in block}
            unknown = sorted(pasts - {block.get("name") for block in blocks if "terms" in block})
            if unknown:
                raise self.refuse(f"{key}: past_of", "the `name` of a block with terms", ", ".join(unknown))
            self.no_past_of_modes(key, blocks)
        self.distinct(f"{where}: names", [entry["name"] for entry in inputs if "name" in entry])
        return tuple(inputs)

    def no_past_of_modes(self, key: str, blocks: list[dict[str, Any]]) -> None:
        """What comes and goes with the mode has no past: zeros of another mode must not be remembered."""
        for block in blocks:
            terms = block.get("terms", [])
            remembered = "history" in block or any("history" in term for term in terms) or "past_of" in block
            if remembered and ("modes" in block or any("modes" in term for term in terms)):
                raise self.refuse(key, "no history in a block with `modes`", "both")
            if "past_of" in block:
                (named,) = [other for other in blocks if other.get("name") == block["past_of"]]
                if "modes" in named or any("modes" in term for term in named["terms"]):
                    raise self.refuse(key, "no `past_of` a block with `modes`", f"{block['past_of']}")

    def block(self, key: str, block: Any, modes: dict[str, int]) -> None:
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
        if "modes" in block:
            self.some_modes(f"{key}.modes", block["modes"], modes)
        self.history(key, block)
        for k, term in enumerate(self.listed(f"{key}.terms", block["terms"])):
            self.term(f"{key}.terms[{k}]", term)
            if "modes" in term:
                self.some_modes(f"{key}.terms[{k}].modes", term["modes"], modes)

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
        for name in sorted(_TERM_TEXTS & set(term)):
            self.text(f"{key}.{name}", term[name])
        for name in sorted(_TERM_LISTS & set(term)):
            self.texts(f"{key}.{name}", term[name])
        for name in sorted({"size", "part_size"} & set(term)):
            self.whole(f"{key}.{name}", term[name], 1, 1000)
        for part in self.listed(f"{key}.parts", term["parts"]) if "parts" in term else []:
            self.whole(f"{key}.parts", part, 0, 1000)
        if "frames" in term:
            for offset in self.listed(f"{key}.frames", term["frames"]):
                self.whole(f"{key}.frames", offset, -1000, 1000)
        self.history(key, term)

    def recurrent(self, where: str, data: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        if "recurrent" not in data:
            return ()
        pairs = []
        for i, pair in enumerate(self.listed(where, data["recurrent"])):
            key = f"{where}[{i}]"
            self.keys(key, pair, {"input", "output"}, {"input", "output"})
            pairs.append((self.text(f"{key}.input", pair["input"]), self.text(f"{key}.output", pair["output"])))
        self.distinct(f"{where}: inputs", [name for name, _ in pairs])
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
        return tuple(self.span(f"command.{key}", command[key], may_be_empty=True) for key in ("vx", "vy", "yaw_rate"))


def load_manifest(name_or_path: str) -> Manifest:
    """Read and check a manifest. Hashes and signature of a bundle are `admission.admit`'s to check.

    Raises:
        Refused: naming the key, what was expected and what was found.
    """
    path = find_manifest(name_or_path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"manifest {path.name}", expected="a JSON file", found=str(error),
                      what_to_do="correct the file") from error
    return read_manifest(path, data)


def read_manifest(path: Path, data: bytes, beside: Mapping[str, bytes] | None = None) -> Manifest:
    """A manifest from its bytes; `beside` as `ManifestReader` has it.

    Raises:
        Refused: as `load_manifest`.
    """
    found = parse_json(data, Reader(f"manifest {path.name}", "correct the file"), non_finite=True)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        schema = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise Refused(f"manifest {path.name}", expected=f'"schema": "{SCHEMA}"', found=f"{schema}",
                      what_to_do="write the manifest as docs/controllers.md describes")
    try:
        return ManifestReader(path, found, beside).manifest()
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Refused(f"manifest {path.name}", expected="the layout of docs/controllers.md",
                      found=f"{type(error).__name__}: {error}", what_to_do="correct the file") from error
