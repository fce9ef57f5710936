"""What a network runs on: named, or chosen from what really works here, saying why not something faster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from runtime.engine_file import PRECISIONS, engine_folder, engine_path, read_engine, rebuild_command
from runtime.errors import Refused

ENGINES = {"engine" if precision == "fp32" else f"engine-{precision}": precision for precision in PRECISIONS}
BACKENDS = ("auto", "cpu", "cuda", "tensorrt", *ENGINES)
BACKEND_HELP = (
    "auto: the fastest that works here, an FP32 engine first; cpu (default), cuda, tensorrt: ONNX Runtime's providers; "
    "engine, engine-tf32, engine-fp16: built by `exoactor export engine`"
)
ACTION_TOLERANCES = {"fp32": 1e-4, "tf32": 5e-3, "fp16": 5e-2}
"""Largest action error where a bundle states none. FP32: another order of summation, 1e-6 to 2e-5 measured on published
policies. FP16: 3e-3 to 2e-2 there."""
AUTO = ("engine", "tensorrt", "cuda", "cpu")
"""In this order. Engines of reduced precision are left out: that choice is a person's."""


class LoadedModel(Protocol):
    """A loaded network: arrays bound once, one call an inference.

    Attributes:
        inputs, outputs: name -> array the network reads or writes; their addresses never change.
        backend: what it runs on, a name of `BACKENDS` other than auto.
    """

    inputs: dict[str, npt.NDArray[Any]]
    outputs: dict[str, npt.NDArray[Any]]
    backend: str

    def run(self) -> None:
        """Read the inputs, write the outputs."""

    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the ONNX."""


def precision_of(backend: str) -> str:
    """fp32, tf32 or fp16; ONNX Runtime's providers are held to FP32."""
    return ENGINES.get(backend, "fp32")


def action_tolerance(tolerances: Mapping[str, float], precision: str) -> float:
    """The largest action error a bundle allows at a precision: `action`, `action_tf32`, `action_fp16`."""
    key = "action" if precision == "fp32" else f"action_{precision}"
    return tolerances.get(key, ACTION_TOLERANCES[precision])


def open_model(
    source: Path | bytes, backend: str = "cpu", origin: str = "", say: Callable[[str], None] | None = None
) -> LoadedModel:
    """A network on a backend.

    Args:
        source: an ONNX file, or its bytes where they were verified already.
        backend: one of `BACKENDS`.
        origin: bundle, manifest or file, as a person would name it in the command that builds its engine.
        say: hears which backend was taken and, with auto, why not a faster one.

    Raises:
        Refused: the backend that was asked for cannot be had; with auto only if the CPU cannot either.
    """
    if backend not in BACKENDS:
        raise Refused("backend", expected=f"one of {', '.join(BACKENDS)}", found=backend,
                      what_to_do="choose one of these")
    origin = origin or (str(source) if isinstance(source, Path) else "FILE.onnx")
    if backend != "auto":
        network = _open(source, backend, origin)
        _tell(say, backend, [])
        return network
    reasons = []
    for name in AUTO[:-1]:
        try:
            network = _open(source, name, origin)
        except Refused as refusal:
            reasons.append(f"{name}: {_reason(refusal)}")
            continue
        _tell(say, name, reasons)
        return network
    network = _open(source, AUTO[-1], origin)
    _tell(say, AUTO[-1], reasons)
    return network


def _tell(say: Callable[[str], None] | None, taken: str, reasons: list[str]) -> None:
    if say is not None:
        say(f"{taken} (not {'; not '.join(reasons)})" if reasons else taken)


def _reason(refusal: Refused) -> str:
    return f"{refusal.what}: found {' '.join(refusal.found.split())}"[:300]


def _open(source: Path | bytes, backend: str, origin: str) -> LoadedModel:
    if backend in ENGINES:
        return _open_engine(source, ENGINES[backend], origin)
    from runtime.model import Model

    return Model(source, backend)


def _open_engine(source: Path | bytes, precision: str, origin: str) -> LoadedModel:
    try:
        digest = hashlib.sha256(source if isinstance(source, bytes) else source.read_bytes()).hexdigest()
    except OSError as error:
        raise Refused(f"model {source!s}", expected="a readable ONNX file", found=f"{error}",
                      what_to_do="check the path") from error
    if not engine_path(digest, precision).is_file():  # before TensorRT is loaded, which takes a second
        raise Refused(f"{precision} engine of {origin}", expected=f"one in {engine_folder()}", found="none",
                      what_to_do=f"build it here: {rebuild_command(origin, precision)}")
    from runtime.cuda import open_cuda
    from runtime.engine import EngineModel, load_tensorrt, this_machine

    trt, cuda = load_tensorrt(), open_cuda()
    engine = read_engine(digest, precision, this_machine(trt, cuda), origin)
    return EngineModel(engine, trt, cuda, f"build it here: {rebuild_command(origin, precision)}")
