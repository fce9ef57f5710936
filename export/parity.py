"""Parity: do all computations of a controller's networks give the same numbers on the same observations?

The reference is ONNX on the CPU through the runtime's own code. Actions are compared by their largest and mean
difference; quantised latents by how many of their numbers land in another bin, since a flip has a size of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.engine_builder import built_engine
from export.evaluator import AsTrained, InNumpy, OnBackend, OnSession, evaluate, hidden_state
from export.layers import Opener, exposed, first_differing_layer, in_half_precision
from export.recording import Recording
from runtime.backend import ENGINES, action_tolerance, open_model
from runtime.errors import Refused

Array = npt.NDArray[Any]

REFERENCE = "cpu"
BIN = 1 / 16
"""Finite scalar quantisation with 32 levels a dimension, as SONIC's tokens have it; coarser grids lie on it too."""
TOKEN_FLIP_RATIO = 1e-3
"""Where a bundle states none: TF32-like rounding flips 5e-3 of the numbers of a random network of SONIC's shape."""


@dataclass(frozen=True)
class Way:
    """A named way to compute a network.

    Attributes:
        open: ONNX bytes to something that computes them.
        open_exposed: the same for a network with intermediate tensors exposed; None where that cannot be done.
        precision: fp32, tf32 or fp16: which tolerance holds.
    """

    name: str
    open: Opener
    open_exposed: Opener | None
    precision: str = "fp32"


@dataclass
class Result:
    """How far one way is from the reference on one network.

    Attributes:
        max_action_error, mean_action_error: of the action, absolute; None where something is not a number.
        token_flips, tokens: numbers of quantised outputs in another bin, and how many such numbers there are.
        tolerance: for the largest action error.
        worst: observation and entry of the largest error; of the first flip where flips alone are too many.
        first_differing_layer: where it begins, when `ok` is False and intermediate tensors show it.
        with_own_latents: action errors when the policy is fed what this way's own stages made; says, does not judge.
    """

    max_action_error: float | None
    mean_action_error: float | None
    token_flips: int
    tokens: int
    observations: int
    tolerance: float
    ok: bool
    worst: dict[str, int]
    first_differing_layer: dict[str, Any] | None = None
    with_own_latents: dict[str, float | None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ways(origin: str) -> dict[str, Way]:
    """Every way this project knows, whether or not it works here. `origin`: named in commands that build engines."""

    def on(backend: str) -> Opener:
        return lambda onnx: OnBackend(open_model(onnx, backend, origin))

    def provider(name: str) -> Opener:
        return lambda onnx: OnSession(onnx, name, optimised=True)

    def engine(precision: str) -> Opener:
        return lambda onnx: OnBackend(built_engine(onnx, precision))

    def half(onnx: bytes) -> OnSession:
        return OnSession(in_half_precision(onnx))

    plain: Opener = OnSession
    table = [
        Way("cpu-unoptimised", plain, plain),
        Way("onnx-reference", InNumpy, InNumpy),
        Way("cuda", on("cuda"), provider("CUDAExecutionProvider")),
        Way("tensorrt", on("tensorrt"), provider("TensorrtExecutionProvider")),
        *(Way(name, on(name), engine(precision), precision) for name, precision in ENGINES.items()),
        Way("cpu-fp16", half, half, "fp16"),
    ]
    return {way.name: way for way in table}


ON_REQUEST = ("cpu-fp16",)
"""Not a backend of the runtime: what FP16 would cost, seen without a GPU."""


def as_optimised(onnx: bytes) -> OnSession:
    """The reference with further outputs: ONNX Runtime on the CPU, rewriting what they leave to be rewritten."""
    return OnSession(onnx, optimised=True)


def source_way(path: Path, recording: Recording, activation: str | None) -> Way:
    """The network a bundle was exported from: ONNX, TorchScript or a checkpoint.

    Args:
        activation: between the layers of a checkpoint's actor, where the manifest says.
    """
    if not path.is_file():
        raise Refused("--source", expected="an ONNX file, TorchScript or checkpoint", found=f"no file {path}",
                      what_to_do="check the path")
    if path.suffix.lower() == ".onnx":
        content = path.read_bytes()
        return Way("source", lambda _: OnBackend(open_model(content, "cpu")), lambda _: OnSession(exposed(content)))
    from export.torchscript import convert_torchscript, is_torchscript

    sizes = {name: int(np.prod(rows.shape[1:])) for name, rows in recording.feeds.items()}
    action, hidden = recording.action or "action", [(name, out) for name, (out, _) in recording.hidden.items()]
    if is_torchscript(path):
        source = convert_torchscript(path, sizes, [action], hidden, start_from_zero=True).source
    else:
        from export.checkpoint_conversion import Choices, convert_checkpoint

        source = convert_checkpoint(path, next(iter(sizes)), action, hidden, Choices(activation)).source
    return Way("source", lambda _: AsTrained(source, sizes), None)


def compare(recording: Recording, expected: Mapping[str, Array], found: Mapping[str, Array],
            tolerances: Mapping[str, float], precision: str) -> Result:
    """One way's outputs against the reference's."""
    carried = {output for output, _ in recording.hidden.values()}
    named = [name for name in expected if name in found and name not in carried]
    quantised = [name for name in named if is_quantised(expected[name])]
    actions = [recording.action] if recording.action in named else [name for name in named if name not in quantised]
    flipped = [~(np.abs(found[name] - expected[name]) < BIN / 2) for name in quantised]
    flips, tokens = sum(int(rows.sum()) for rows in flipped), sum(rows.size for rows in flipped)
    error = np.concatenate(
        [np.abs(found[name].astype(np.float64) - expected[name]).reshape(recording.ticks, -1) for name in actions]
        or [np.zeros((recording.ticks, 1))], axis=1,
    )
    tolerance = action_tolerance(tolerances, precision)
    largest, mean = float(error.max()), float(error.mean())
    steady = flips <= tolerances.get("token_flip_ratio", TOKEN_FLIP_RATIO) * tokens
    ok = largest <= tolerance and steady
    rows = error if steady or largest > tolerance else np.concatenate(
        [rows.reshape(recording.ticks, -1) for rows in flipped], axis=1
    )
    place = int(np.nan_to_num(rows, nan=np.inf).argmax())
    finite = bool(np.isfinite(largest))
    return Result(
        largest if finite else None, mean if finite else None, flips, tokens, recording.ticks, tolerance, ok,
        {"observation": place // rows.shape[1], "entry": place % rows.shape[1]},
    )


def is_quantised(values: Array) -> bool:
    """Whether every number lies on the grid of `BIN`, and not all are zero."""
    steps = np.asarray(values, np.float64) / BIN
    return bool(np.issubdtype(values.dtype, np.floating) and np.isfinite(steps).all() and steps.any()
                and np.abs(steps - np.round(steps)).max() < 1e-3)


class Parity:
    """One network on the reference.

    Raises:
        Refused: the reference itself cannot be computed.
    """

    def __init__(self, recording: Recording, tolerances: Mapping[str, float]) -> None:
        self.recording, self.tolerances = recording, tolerances
        self.expected = evaluate(recording, OnBackend(open_model(recording.onnx, REFERENCE)))

    def check(self, way: Way) -> Result:
        """One way against it.

        Raises:
            Refused: it is not to be had here.
        """
        return self.judge(way, evaluate(self.recording, way.open(self.recording.onnx)))

    def judge(self, way: Way, found: Mapping[str, Array]) -> Result:
        """Outputs of one way against it; where they are beyond their tolerance, also the first differing layer."""
        result = compare(self.recording, self.expected, found, self.tolerances, way.precision)
        if not result.ok and way.open_exposed is not None:
            result.first_differing_layer = self._part(way.open_exposed, result)
        return result

    def _part(self, opener: Opener, result: Result) -> dict[str, Any] | None:
        tick, recording = result.worst["observation"], self.recording
        before = {name: values[tick - 1] for name, values in self.expected.items()} if tick else {}
        feeds = {name: values[tick] for name, values in recording.feeds.items()}
        feeds |= hidden_state(recording, before, tick)
        only_flips = result.max_action_error is not None and result.max_action_error <= result.tolerance
        return first_differing_layer(recording.onnx, as_optimised, opener, feeds,
                                     BIN / 2 if only_flips else result.tolerance, relative=not only_flips)

    def check_reference(self) -> Result:
        """The reference against itself: zeros, unless it computes something that is not a number."""
        return compare(self.recording, self.expected, self.expected, self.tolerances, "fp32")

    def check_recorded(self) -> Result | None:
        """The actions in the log, if there are any."""
        recording = self.recording
        if recording.acted is None or recording.action is None:
            return None
        shape = self.expected[recording.action].shape
        found = {recording.action: recording.acted.reshape(shape)}
        return compare(recording, self.expected, found, self.tolerances, "fp32")


@dataclass(frozen=True)
class Link:
    """A stage's output that stands in an input of the policy, as it is, at the policy's ticks `at`."""

    stage: str
    at: npt.NDArray[np.intp]
    output: str
    input: str
    start: int


def find_links(parities: list[Parity]) -> list[Link]:
    """Where outputs of stages reappear in what the policy was fed: seen in the numbers, at every tick."""
    main, links = parities[-1].recording, []
    for parity in parities[:-1]:
        for output, values in parity.expected.items():
            rows = values.reshape(len(values), -1)
            for name, feed in main.feeds.items():
                flat = feed.reshape(main.ticks, -1)[parity.recording.at]
                places = range(flat.shape[1] - rows.shape[1] + 1) if rows.any() else ()
                start = next((i for i in places if np.array_equal(flat[:, i : i + rows.shape[1]], rows)), None)
                if start is not None:
                    links.append(Link(parity.recording.name, parity.recording.at, output, name, start))
    return links


def check_chain(way: Way, parities: list[Parity], links: list[Link]) -> dict[str, Result]:
    """One way on every network by itself, and on the policy fed with this way's own latents.

    Raises:
        Refused: it is not to be had here.
    """
    results, made = {}, {}
    for parity in parities:
        evaluator = way.open(parity.recording.onnx)
        name = parity.recording.name
        made[name] = evaluate(parity.recording, evaluator)
        results[name] = parity.judge(way, made[name])
    if links:
        main = parities[-1]
        feeds = {name: values.copy() for name, values in main.recording.feeds.items()}
        for link in links:
            rows = made[link.stage][link.output].reshape(len(link.at), -1)
            flat = feeds[link.input].reshape(main.recording.ticks, -1)
            flat[link.at, link.start : link.start + rows.shape[1]] = rows
        outputs = evaluate(replace(main.recording, feeds=feeds), evaluator)
        whole = compare(main.recording, main.expected, outputs, main.tolerances, way.precision)
        results[main.recording.name].with_own_latents = {
            "max_action_error": whole.max_action_error, "mean_action_error": whole.mean_action_error
        }
    return results
