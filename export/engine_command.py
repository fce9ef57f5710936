"""`exoactor export engine`: compile a controller's networks for this GPU, and keep only what computes right."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from export.engine_builder import build_engine, built_engine
from export.evaluator import OnBackend
from export.parity import Parity, Way
from export.recording import Recording
from export.subject import Subject, open_subject
from runtime.backend import LoadedModel, open_model
from runtime.cuda import Cuda, open_cuda
from runtime.engine import EngineModel, load_tensorrt, this_machine
from runtime.engine_file import engine_path, read_engine, write_engine
from runtime.errors import Refused

TIMED = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor export engine`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor export engine BUNDLE\n"
        "  exoactor export engine policy.onnx --fp16 --force --json\n"
        "needs TensorRT 10 or newer and a GPU: pip install 'exoactor[gpu]'; JetPack brings its own\n"
        "exit codes: 0 stored, 1 an engine was beyond its tolerance and not stored, 2 refused"
    )
    parser.add_argument("target", metavar="BUNDLE|FILE.onnx", help="bundle folder, manifest, shipped name or network")
    parser.add_argument("--model", help="ONNX file, when the controller does not bring its own")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp16", action="store_const", const="fp16", dest="precision",
                           help="half precision; has a tolerance of its own")
    precision.add_argument("--tf32", action="store_const", const="tf32", dest="precision",
                           help="FP32 with products rounded to 10 bits, TensorRT's own default")
    parser.add_argument("--log", metavar="LOG.mcap", help="compare on a run's observations (default: random ones)")
    parser.add_argument("--ticks", type=int, default=1000, help="random observations to compare on (default 1000)")
    parser.add_argument("--force", action="store_true", help="build anew even where the engine fits")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Build, compare, store; 0 when every engine is in its place."""
    trt, cuda = load_tensorrt(), open_cuda()
    subject = open_subject(args.target, args.model, args.log, args.ticks, 0)
    precision = args.precision or "fp32"
    rows = [
        _made(recording, subject, precision, trt, cuda, force=args.force) for recording in subject.recordings
    ]
    report = {"ok": all(row["ok"] for row in rows), "controller": subject.name, "precision": precision, "engines": rows}
    if args.json:
        print(json.dumps(report))
    else:
        for row in rows:
            _say(row, precision)
    return 0 if report["ok"] else 1


def _made(
    recording: Recording, subject: Subject, precision: str, trt: Any, cuda: Cuda, *, force: bool
) -> dict[str, Any]:
    digest = hashlib.sha256(recording.onnx).hexdigest()
    place = {"network": recording.name, "path": str(engine_path(digest, precision))}
    if not force:
        try:
            kept = read_engine(digest, precision, this_machine(trt, cuda), subject.origin)
            return {"ok": True, "built": False, **place, **kept.measured}
        except Refused:
            pass  # whatever it was, it does not fit: what follows replaces it
    start = time.perf_counter()
    engine = build_engine(recording.onnx, precision, trt, cuda)
    took_s = time.perf_counter() - start
    model = EngineModel(engine, trt, cuda)
    way = Way("engine", lambda _: OnBackend(model), lambda onnx: OnBackend(built_engine(onnx, precision)), precision)
    result = Parity(recording, subject.tolerances).check(way)
    measured = {
        "build_s": round(took_s, 2), "cuda_graph": model.graph,
        "cpu_us": median_us(open_model(recording.onnx, "cpu")), "engine_us": median_us(model), **result.as_dict(),
    }
    if result.ok:
        write_engine(replace(engine, measured=measured))
    return {"built": result.ok, **place, **measured}


def median_us(network: LoadedModel, clock: Callable[[], int] = time.perf_counter_ns) -> float:
    """Median duration of an inference."""
    times = []
    for _ in range(TIMED):
        start = clock()
        network.run()
        times.append(clock() - start)
    return round(float(np.median(times)) / 1000, 1)


def _say(row: dict[str, Any], precision: str) -> None:
    error = "not finite" if row["max_action_error"] is None else f"{row['max_action_error']:.2e}"
    print(f"{row['network']}: {precision} engine, {row['engine_us']} us an inference (CPU {row['cpu_us']} us), "
          f"built in {row['build_s']} s; max action error {error} (tolerance {row['tolerance']:.0e}), "
          f"token flips {row['token_flips']}/{row['tokens']}")
    if row["ok"]:
        print(f"  {'stored in' if row['built'] else 'fits, kept:'} {row['path']}")
        return
    layer = row["first_differing_layer"]
    where = f"; first differing layer: {layer['operator']} that makes {layer['tensor']}" if layer else ""
    print(f"  NOT stored: beyond its tolerance at observation {row['worst']['observation']}{where}")
