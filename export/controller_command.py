"""`exoactor export controller`: a trained network and its manifest become a bundle that a robot may load."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from export.bundle_writer import write_bundle
from export.conversion_check import OBSERVATIONS, Agreement, compare, refuse_disagreement
from export.draft import estimate_what_is_observed, safe_name
from export.network_metadata import Completed, complete_manifest
from export.onnx_cost import measure_cost
from export.source_network import Conversion, layers, sha256
from runtime.admission import Admitted
from runtime.controller import input_tables
from runtime.errors import Refused
from runtime.manifest import Manifest, controller_names, find_manifest
from runtime.manifest_reader import load_manifest, read_manifest
from runtime.model import Model
from runtime.model_reference import ModelReference
from runtime.policy import open_admitted
from runtime.reader import Reader, parse_json

NETWORK = "policy.onnx"
EXAMPLES = """examples:
  exoactor export controller --from policy.pt --manifest my_policy.json --out bundles/my_policy
  exoactor export controller --from model_5000.pt --manifest my_policy.json --activation elu --out bundles/my_policy
  exoactor export controller --from policy.onnx --manifest my_policy.json --out bundles/my_policy
  exoactor run --controller bundles/my_policy --command 0.5,0,0 --lockstep"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to convert, and what a file cannot say of itself."""
    parser.epilog = EXAMPLES
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FILE",
                        help="TorchScript, a PyTorch checkpoint or ONNX (.pt, .pth, .onnx); told apart by content")
    parser.add_argument("--manifest", type=Path, metavar="M.json",
                        help="see docs/controllers.md, or the name of a shipped one; may be left out for an ONNX "
                        "network whose metadata say enough")
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder; a bundle is replaced")
    parser.add_argument("--name", help="of the controller, instead of the manifest's")
    parser.add_argument("--robot", help="without --manifest: robot or its file (default: the shipped one with these "
                        "joints)")
    parser.add_argument("--rate", type=float, metavar="HZ",
                        help="without --manifest: control rate, which ONNX networks do not say (default 50)")
    parser.add_argument("--activation", metavar="NAME",
                        help="checkpoints: between the actor's layers, as trained (elu, relu, tanh, ...)")
    parser.add_argument("--output-activation", default="none", metavar="NAME", help="checkpoints: after the last layer")
    parser.add_argument("--checkpoint-actor", metavar="PREFIX",
                        help="checkpoints: where the actor's layers are, e.g. model_state_dict.actor")
    parser.add_argument("--no-normaliser", action="store_true",
                        help="checkpoints: leave the observation normaliser out; only for a policy trained without")
    parser.add_argument("--start-from-zero", action="store_true",
                        help="TorchScript: hidden state saved with other values than zero starts at zero all the same")
    parser.add_argument("--observation-size", type=int, metavar="N",
                        help="TorchScript: size of its input, where the manifest reads the network's own outputs")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Convert, compare, write; 0, or a refusal before anything is written."""
    if not args.source.is_file():
        raise Refused(f"--from {args.source}", expected="a network's file", found="no such file",
                      what_to_do="check the path")
    args.manifest = _find(args.manifest)
    _say(f"reading {args.source.name}")
    data, notes = _manifest(args)
    conversion, completed = _convert(args, data)
    conversion.assumed += notes
    content, files = _bundle_content(args.manifest or args.source, completed.data, conversion)
    _say(f"comparing with the original on {OBSERVATIONS:,} observations")
    agreement = _check(content, files, conversion, args.source.name)
    _say(f"writing {args.out}")
    provenance = _provenance(args.source, conversion, completed, agreement)
    out = write_bundle(args.out, content, files, provenance=provenance)
    _report(args, out, conversion, completed, agreement)
    return 0


def _say(line: str) -> None:
    print(f"... {line}", file=sys.stderr, flush=True)


def _find(manifest: Path | None) -> Path | None:
    """The manifest's file: one given by its path, or a shipped one by its name.

    Raises:
        Refused: a publisher's YAML, which is made a manifest of first.
    """
    if manifest is None or manifest.is_file():
        if manifest is not None and manifest.suffix.lower() in (".yaml", ".yml"):
            raise Refused(f"--manifest {manifest.name}", expected="a manifest, M.json", found="a YAML file",
                          what_to_do=f"make one of it, and read it: exoactor export manifest --from {manifest} "
                          "--model POLICY.onnx --out M.json")
        return manifest
    return find_manifest(str(manifest)) if str(manifest) in controller_names() else manifest


def _is_torch(path: Path) -> bool:
    """A zip archive or a pickle; anything else is read as ONNX."""
    with path.open("rb") as file:
        start = file.read(2)
    return start == b"PK" or start[:1] == b"\x80"


def _manifest(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Parsed `controller.json`, and what had to be assumed where the network's metadata had to do."""
    if args.manifest is not None:
        for option in ("robot", "rate"):
            if getattr(args, option) is not None:
                raise Refused(f"--{option}", expected="none beside --manifest", found=f"{getattr(args, option)}",
                              what_to_do="write it in the manifest (docs/controllers.md)")
        return _read_manifest(args.manifest, args.name), []
    if _is_torch(args.source):
        raise Refused("--manifest", expected="a manifest", found="none",
                      what_to_do="write one (docs/controllers.md): only ONNX networks can say enough of themselves")
    from export.manifest_command import make_draft
    from export.onnx_file import load_onnx

    model = Model(load_onnx(args.source).SerializeToString())
    name = args.name or safe_name(args.source.stem)
    draft = make_draft(args.source.with_suffix(".onnx"), model, args.robot, name, args.rate)
    estimate_what_is_observed(draft)
    data: dict[str, Any] = json.loads(draft.text())
    return data, draft.notes


def _read_manifest(path: Path, name: str | None) -> dict[str, Any]:
    reader = Reader(f"manifest {path.name}", "correct the file")
    try:
        found = parse_json(path.read_bytes(), reader, non_finite=True)
    except OSError as error:
        raise Refused(f"--manifest {path}", expected="a readable JSON file", found=f"{error.strerror or error}",
                      what_to_do="check the path; docs/controllers.md shows how to write one") from error
    if not isinstance(found, dict):
        raise reader.refuse("text", "an object", type(found).__name__)
    if not isinstance(found.get("model", {}), dict):
        raise reader.refuse("model", "an object", type(found["model"]).__name__)
    return {**found, "name": name} if name else found


def _convert(args: argparse.Namespace, data: dict[str, Any]) -> tuple[Conversion, Completed]:
    """The network as ONNX, and the manifest with what the network says of itself."""
    if _is_torch(args.source):
        completed = complete_manifest(f"network {args.source.name}", data, {})
        manifest = read_manifest(args.manifest, json.dumps(completed.data).encode())
        return _convert_torch(args, manifest), completed
    from export.onnx_file import convert_onnx

    conversion, metadata = convert_onnx(args.source, data)
    return conversion, complete_manifest(f"network {args.source.name}", data, metadata)


def _convert_torch(args: argparse.Namespace, manifest: Manifest) -> Conversion:
    import torch  # takes seconds to load

    from export import torchscript

    torch.set_num_threads(1)  # a network of this size gains nothing from more, and waits for them on a busy computer
    action = manifest.action_output or "action"
    if torchscript.is_torchscript(args.source):
        return torchscript.convert_torchscript(
            args.source, _input_sizes(manifest, args.observation_size), [action], manifest.recurrent,
            start_from_zero=args.start_from_zero,
        )
    from export.checkpoint_conversion import Choices, convert_checkpoint

    if len(manifest.inputs) != 1:
        raise Refused(f"checkpoint {args.source.name}", expected="a manifest with one input, the actor's observation",
                      found=f"{len(manifest.inputs)}", what_to_do="export a network of several inputs as ONNX")
    choices = Choices(args.activation or manifest.model_activation, args.output_activation, args.checkpoint_actor,
                      not args.no_normaliser)
    observation = manifest.inputs[0].get("name", "obs")
    return convert_checkpoint(args.source, observation, action, manifest.recurrent, choices)


def _input_sizes(manifest: Manifest, given: int | None) -> dict[str, int]:
    """Name and size of each input as the manifest lays it out; the only one may lack a name."""
    if given is not None and len(manifest.inputs) == 1:
        return {manifest.inputs[0].get("name", "obs"): given}
    try:
        tables = input_tables(manifest)
    except Refused as error:
        raise Refused(error.what, expected=error.expected, found=error.found,
                      what_to_do="give the size of the network's input with --observation-size N") from error
    return {name or "obs": table.values.size for name, table in tables.items()}


def _bundle_content(
    path: Path, data: dict[str, Any], conversion: Conversion
) -> tuple[dict[str, Any], dict[str, Path | bytes]]:
    """`controller.json` of the bundle, and the files that go with it, by their names there."""
    model = {key: value for key, value in data.get("model", {}).items() if key != "sha256"}
    content = {**data, "model": {**model, "file": NETWORK}}
    if conversion.recurrent:
        content["recurrent"] = [{"input": a, "output": b} for a, b in conversion.recurrent]
    files: dict[str, Path] = {}
    robot = content.get("robot")
    if isinstance(robot, str) and robot.endswith(".json"):
        beside = path.parent / robot
        content["robot"] = Path(robot).name
        files[content["robot"]] = beside if beside.is_file() else Path(robot)
    others = {key: value for key, value in content.items() if key != "model"}
    files.update({name: path.parent / name for name in _named_files(others)})
    for name, part in files.items():
        steps = PurePosixPath(name)
        if steps.is_absolute() or ".." in steps.parts or not Path(part).is_file():
            raise Refused(f"manifest {path.name}", expected="files in its own folder", found=f"{name}, not there",
                          what_to_do="put every file that it names beside it")
    return content, {**files, NETWORK: conversion.model.SerializeToString()}


def _named_files(value: Any) -> list[str]:
    """Every `file` that a part of a manifest names: networks of stages and estimators."""
    if isinstance(value, dict):
        own = [value["file"]] if isinstance(value.get("file"), str) else []
        return own + [name for part in value.values() for name in _named_files(part)]
    return [name for part in value for name in _named_files(part)] if isinstance(value, list) else []


def _check(
    content: dict[str, Any], files: Mapping[str, Path | bytes], conversion: Conversion, name: str
) -> Agreement:
    """Open the manifest with the converted network as a run would, and compare it with the original."""
    with tempfile.TemporaryDirectory(prefix="exoactor-export-") as folder:
        for file, part in files.items():
            target = Path(folder, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(part if isinstance(part, bytes) else part.read_bytes())
        path = Path(folder, "controller.json")
        path.write_text(json.dumps(content), encoding="utf-8")
        controller = open_admitted(Admitted(load_manifest(str(path)), None, ""))
    if controller.manifest.embedded is not None:  # a run would refuse a motion it cannot read; the reader says why
        ModelReference(controller, controller.manifest.embedded)
    agreement = compare(controller, conversion.source)
    refuse_disagreement(name, agreement)
    return agreement


def _provenance(
    source: Path, conversion: Conversion, completed: Completed, agreement: Agreement
) -> dict[str, Any]:
    """What the bundle keeps of how it was made; names of files, never their paths."""
    return {
        "source": {"file": source.name, "sha256": sha256(source), "kind": conversion.kind},
        "conversion": {**conversion.facts, **{f"{key} from": value for key, value in completed.taken.items()}},
        "parity": agreement.facts(),
    }


def _report(
    args: argparse.Namespace, out: Path, conversion: Conversion, completed: Completed, agreement: Agreement
) -> None:
    parameters = measure_cost(conversion.model.SerializeToString()).parameters
    warnings = [*conversion.assumed, *completed.differing]
    if args.json:
        print(json.dumps({
            "outcome": "done", "bundle": str(out), "kind": conversion.kind, "layers": layers(conversion.model),
            "parameters": parameters, **conversion.facts, "from_network": completed.taken,
            "recurrent": conversion.recurrent, "parity": agreement.facts(), "warnings": warnings,
        }, indent=1))
    else:
        taken = ", ".join(f"{key} ({name})" for key, name in completed.taken.items())
        worst, mean = agreement.max_action_error, agreement.mean_action_error
        _print_table({
            "network": f"{args.source.name}: {conversion.kind}, {parameters:,} parameters",
            "layers": "\n".join(layers(conversion.model)) or "no matrices",
            **conversion.facts,
            **({"from network": taken} if taken else {}),
            "agreement": f"action within {worst:.2g}, mean {mean:.2g}, over {agreement.observations:,} observations "
            f"(allowed {agreement.tolerance:g})",
            "bundle": f"{out}",
        })
    for line in warnings:
        print(f"WARNING: {line}", file=sys.stderr)


def _print_table(rows: Mapping[str, str]) -> None:
    width = max(len(name) for name in rows)
    for name, text in rows.items():
        for i, line in enumerate(text.splitlines()):
            print(f"{'' if i else name:<{width}}  {line}")
