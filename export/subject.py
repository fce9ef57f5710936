"""What an export job looks at (a bundle, a manifest with its model, an ONNX file), and what its networks are fed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.recording import Part, Recording, Tap, from_controller, from_log, from_noise
from runtime import golden
from runtime.admission import admit
from runtime.backend import open_model
from runtime.bundle import GOLDEN
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.model_metadata import adopt_metadata
from runtime.model_reference import ModelReference


@dataclass(frozen=True)
class Subject:
    """A controller's networks with recorded inputs.

    Attributes:
        name: of the controller or file.
        origin: how the command line named it.
        recordings: one a network, in the order they run; the policy last.
        fed_from: where the inputs come from, for people.
        tolerances: those the bundle states.
        activation: between the layers of the checkpoint it came from, where the manifest says.
    """

    name: str
    origin: str
    recordings: list[Recording]
    fed_from: str
    tolerances: Mapping[str, float]
    activation: str | None = None


def open_subject(target: str, model: str | None, log: str | None, ticks: int, seed: int) -> Subject:
    """Find the networks and record what they are fed.

    Args:
        target: bundle folder, manifest, shipped name or ONNX file.
        model: ONNX file for a manifest without one.
        log: a run's log.mcap, or None for golden and random ticks.
    """
    if target.lower().endswith(".onnx"):
        return _bare(Path(target), log, ticks, seed)
    admitted = admit(target, allow_unsigned=True)
    for line in admitted.warnings:
        print(f"WARNING: {line}", file=sys.stderr)
    manifest, bundle = admitted.manifest, admitted.bundle
    onnx = _content(admitted.model(model))
    tap = Tap(open_model(onnx, "cpu"))
    main = Part("policy", onnx, tap, manifest.recurrent, manifest.action_output or next(iter(tap.outputs)))
    parts = []
    for stage in manifest.stages:
        onnx = _content(admitted.stage_model(stage))
        parts.append(Part(stage.name, onnx, Tap(open_model(onnx, "cpu"), tap), stage.recurrent, None))
    taps = {part.name: part.tap for part in parts}
    controller = Controller(adopt_metadata(manifest, main.tap.metadata()), main.tap, taps)
    parts.append(main)
    if manifest.embedded is not None:
        ModelReference(controller, manifest.embedded)  # tells the controller how many rows there are
        tap.take()
    if log is not None:
        recordings, fed_from = from_log(Path(log), controller, parts), f"log {log}"
    else:
        vectors = golden.unpack(bundle.files[GOLDEN]) if bundle else None
        recordings = from_controller(controller, parts, vectors, ticks, seed)
        count = len(vectors["state"]) if vectors else 0
        fed_from = (f"{count} golden and " if count else "") + f"{ticks} random ticks, seed {seed}"
    tolerances = bundle.listing.tolerances if bundle else {}
    return Subject(manifest.name, model or target, recordings, fed_from, tolerances, manifest.model_activation)


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _bare(path: Path, log: str | None, ticks: int, seed: int) -> Subject:
    if not path.is_file():
        raise Refused("network", expected="an ONNX file", found=f"no file {path}", what_to_do="check the path")
    if log is not None:
        raise Refused("--log", expected="a bundle or manifest, which says how observations are laid out",
                      found=f"{path}", what_to_do="name the bundle instead of its network")
    onnx = path.read_bytes()
    recording = from_noise(open_model(path, "cpu"), onnx, ticks, seed)
    return Subject(path.name, str(path), [recording], f"{ticks} ticks of standard normal noise, seed {seed}", {})
