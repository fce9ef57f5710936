"""`exoactor export manifest`: a `controller.json` from what a publisher ships, to be read, corrected and run."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from export import berkeley_yaml, deploy_yaml, onnx_draft
from export.draft import Draft, estimate_what_is_observed, safe_name
from firmware_bridge.sim_options import PLANT
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.manifest import Manifest
from runtime.manifest_reader import read_manifest
from runtime.model import Model
from runtime.model_metadata import adopt_metadata
from runtime.model_reference import ModelReference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the job."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export manifest --from policy/params/deploy.yaml --model policy/exported/policy.onnx --out M.json\n"
        "  exoactor export manifest --from dance.onnx --out M.json\n"
        "  exoactor export manifest --from configs/policy_biped_50hz.yaml --out M.json"
    )
    parser.add_argument("--from", dest="source", required=True, metavar="FILE",
                        help="unitree_rl_lab's deploy.yaml, Berkeley Humanoid Lite's policy_*.yaml, or an ONNX network "
                        "with BeyondMimic's, mjlab's or holosoma's metadata")
    parser.add_argument("--model", metavar="FILE.onnx", help="the network, when --from is a YAML: sizes are checked")
    parser.add_argument("--robot", help="robot or its file (default: the shipped one with these joints)")
    parser.add_argument("--name", help="the controller's name (default: the file's)")
    parser.add_argument("--rate", type=float, metavar="HZ", help="control rate, where the source does not say it")
    parser.add_argument("--out", required=True, metavar="M.json", help="where to write it")


def run(args: argparse.Namespace) -> int:
    """Write the manifest; 0. It is read back, and tried on the network where there is one."""
    source, out = Path(args.source), Path(args.out)
    if not source.is_file():
        raise Refused("--from", expected="a file", found=f"{source}", what_to_do="check the path")
    model_file = source if source.suffix.lower() == ".onnx" else Path(args.model) if args.model else None
    model = None if model_file is None else Model(model_file)
    draft = make_draft(source, model, args.robot, args.name or safe_name(source.stem), args.rate)
    estimate_what_is_observed(draft)
    robot_file = Path(draft.data["robot"])
    if robot_file.suffix == ".json" and robot_file.resolve().parent == out.resolve().parent:
        draft.data["robot"] = robot_file.name
    if model_file is not None and model_file.resolve().parent == out.resolve().parent:
        draft.data.setdefault("model", {}).update(
            file=model_file.name, sha256=hashlib.sha256(model_file.read_bytes()).hexdigest()
        )
    text = draft.text()
    manifest = read_manifest(out, text.encode("utf-8"))
    if model is not None:
        controller = Controller(adopt_metadata(manifest, model.metadata()), model)
        if controller.manifest.embedded is not None:
            ModelReference(controller, controller.manifest.embedded)
    out.write_text(text, encoding="utf-8")
    _say(manifest, draft, out, model_file, fits=model is not None)
    return 0


def make_draft(source: Path, model: Model | None, robot: str | None, name: str, rate_hz: float | None) -> Draft:
    """The manifest of whatever kind of file this is.

    Raises:
        Refused: no kind this knows, or a file that does not hold what its kind says.
    """
    if source.suffix.lower() == ".onnx":
        if model is None:
            model = Model(source)
        tensors = onnx_draft.Tensors(
            {key: array.size for key, array in model.inputs.items()},
            {key: array.size for key, array in model.outputs.items()}, model.metadata(),
        )
        return onnx_draft.draft_from(tensors, name, robot, rate_hz)
    if source.suffix.lower() not in (".yaml", ".yml"):
        raise Refused("--from", expected="a .yaml or .onnx file", found=source.name,
                      what_to_do="settings come from those; `exoactor export controller` converts other networks")
    data = deploy_yaml.read_yaml(source)
    if deploy_yaml.is_deploy_yaml(data):
        return deploy_yaml.draft_from(data, name, robot)
    if berkeley_yaml.is_berkeley_yaml(data):
        return berkeley_yaml.draft_from(data, name, robot)
    raise Refused(f"file {source.name}", expected="a deploy.yaml of unitree_rl_lab or a policy_*.yaml of Berkeley "
                  "Humanoid Lite", found=f"keys {', '.join(map(str, data))}"[:300],
                  what_to_do="write the manifest by hand (docs/controllers.md)")


def _say(manifest: Manifest, draft: Draft, out: Path, model_file: Path | None, *, fits: bool) -> None:
    print(f"{out}: {manifest.kind} for {manifest.robot.name}, {len(manifest.order)} joints, {manifest.rate_hz:g} Hz")
    print(f"fits {model_file}" if fits else "not tried on a network yet: give it with --model")
    for note in draft.notes:
        print(f"check: {note}")
    model = "" if manifest.model_file else f" --model {model_file or 'policy.onnx'}"
    plant = "" if manifest.robot.name == PLANT.stem else " --plant PLANT.xml"
    print(f"next: exoactor run --lockstep --controller {out}{model}{plant}")
