"""What a controller's networks were fed, tick by tick: from a run's log, from golden vectors, or drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.plausible import plausible_ticks
from runtime import golden
from runtime.backend import LoadedModel
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.log_file import read_log
from runtime.pilot import Phase

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Recording:
    """The inputs of one network at successive ticks.

    Attributes:
        name: "policy", or the name of a stage.
        onnx: the network.
        feeds: input -> (ticks, *shape); hidden state is not among them, whoever replays keeps its own.
        hidden: input -> (output, shape) of hidden state.
        action: the output that is the action; None compares every output.
        fresh: (ticks,) bool, hidden state is zero before this tick.
        at: (ticks,) int, the policy's tick that each belongs to: a stage may rest in some modes.
        acted: (ticks, n) the action that was logged, or None.
    """

    name: str
    onnx: bytes
    feeds: Mapping[str, Array]
    hidden: Mapping[str, tuple[str, tuple[int, ...]]]
    action: str | None
    fresh: npt.NDArray[np.bool_]
    at: npt.NDArray[np.intp]
    acted: Array | None = None

    @property
    def ticks(self) -> int:
        """How many observations there are."""
        return len(self.fresh)


class Tap:
    """A network that keeps what it is fed.

    Args:
        main: the tap of the network that ends a tick, for a stage; None for that one itself.
    """

    def __init__(self, network: LoadedModel, main: Tap | None = None) -> None:
        self._network, self._main = network, main or self
        self.inputs, self.outputs, self.backend = network.inputs, network.outputs, network.backend
        self.fed: list[dict[str, Array]] = []
        self.at: list[int] = []

    def run(self) -> None:
        """One inference."""
        self.at.append(len(self._main.fed))
        self.fed.append({name: values.copy() for name, values in self.inputs.items()})
        self._network.run()

    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the ONNX."""
        return self._network.metadata()

    def take(self) -> tuple[dict[str, Array], npt.NDArray[np.intp]]:
        """input -> (ticks, *shape) since the last take, and the ticks."""
        fed, at, self.fed, self.at = self.fed, self.at, [], []
        return {name: np.array([row[name] for row in fed]) for name in self.inputs}, np.array(at, np.intp)


@dataclass(frozen=True)
class Part:
    """One network of a controller being recorded.

    Attributes:
        recurrent: pairs (input, output) of hidden state.
        action: the output that is the action; None for a stage.
    """

    name: str
    onnx: bytes
    tap: Tap
    recurrent: tuple[tuple[str, str], ...]
    action: str | None

    def recording(self, fed: Mapping[str, Array], at: npt.NDArray[np.intp]) -> Recording:
        """What it was fed since hidden state was last zero."""
        hidden = {name: (output, self.tap.inputs[name].shape) for name, output in self.recurrent}
        fresh = np.zeros(len(at), np.bool_)
        fresh[:1] = True
        feeds = {name: rows for name, rows in fed.items() if name not in hidden}
        return Recording(self.name, self.onnx, feeds, hidden, self.action, fresh, at)


def joined(parts: Iterable[Recording]) -> Recording:
    """Recordings of one network, one after the other; hidden state starts anew at each."""
    parts = list(parts)
    feeds = {name: np.concatenate([part.feeds[name] for part in parts]) for name in parts[0].feeds}
    return replace(parts[0], feeds=feeds, fresh=np.concatenate([part.fresh for part in parts]),
                   at=np.concatenate([part.at for part in parts]))


def from_controller(
    controller: Controller, parts: list[Part], vectors: Mapping[str, Array] | None, ticks: int, seed: int
) -> list[Recording]:
    """The bundle's golden ticks, then seeded random ones a robot could meet, in each of the controller's modes.

    Args:
        parts: the controller's networks; one that runs in no mode met is left out.
        vectors: arrays of `runtime.golden`, or None.
    """
    taken: dict[str, list[Recording]] = {part.name: [] for part in parts}
    ticks_before = 0

    def take() -> None:
        nonlocal ticks_before
        for part in parts:
            fed, at = part.tap.take()
            if len(at):
                taken[part.name].append(part.recording(fed, at + ticks_before))
        ticks_before += len(at)  # of the policy, the last part

    def forget() -> None:
        for part in parts:
            part.tap.take()

    forget()
    if vectors is not None:
        golden.replay(controller, vectors)
        take()
    modes = [{"mode": mode} for mode in controller.manifest.modes.values()] or [{}]
    for turn, places in enumerate(modes):
        count = ticks // len(modes) + (turn < ticks % len(modes))
        given = {name: np.full((count, 1), value, np.float32) for name, value in places.items()}
        if count:
            drawn = plausible_ticks(controller, count, seed + turn, given)
            forget()  # drawing them tries the controller
            golden.record(controller, drawn)
            take()
    return [joined(rows) for rows in taken.values() if rows]


def from_log(path: Path, controller: Controller, parts: list[Part]) -> list[Recording]:
    """The observations of a run while its controller was at work.

    With hidden state a log is replayed up to the first tick it lost, since the state is unknown after that.

    Raises:
        Refused: no log, none of this controller, or nothing in it.
    """
    if not path.is_file():
        raise Refused("--log", expected="a run's log.mcap", found=f"no file {path}",
                      what_to_do="name the log in a run's output folder")
    rows = read_log(path).topics.get("policy", np.zeros(0, [("phase", "u4")]))
    busy = rows[(rows["phase"] >= Phase.SETTLE) & (rows["phase"] <= Phase.SETTLE_OUT)]
    if not len(busy):
        raise Refused(f"log {path.name}", expected="policy ticks while tracking", found="none",
                      what_to_do="give the log of a run that came to track")
    sizes = [observation.values.size for observation, _, _ in controller.observations]
    if busy["observation"].shape[1] != sum(sizes) or busy["action"].shape[1] != len(controller.action):
        raise Refused(f"log {path.name}", expected=f"{sum(sizes)} observations and {len(controller.action)} actions",
                      found=f"{busy['observation'].shape[1]} and {busy['action'].shape[1]}",
                      what_to_do="this log is of another controller")
    if any(part.recurrent for part in parts):
        lost = np.flatnonzero(np.diff(busy["sequence"].astype(np.int64)) != 1)
        busy = busy[: lost[0] + 1] if len(lost) else busy
    blocks = iter(np.split(busy["observation"], np.cumsum(sizes)[:-1], axis=1))
    recordings = []
    for part, network in zip(parts, controller.networks, strict=True):
        places = {values.ctypes.data: (name, values) for name, values in part.tap.inputs.items()}
        fed = {}
        for _, buffer, clip in network.observations:
            name, values = places[buffer.ctypes.data]
            block = next(blocks)
            block = block if clip is None else np.clip(block, *clip)
            fed[name] = np.ascontiguousarray(block.astype(values.dtype).reshape(len(block), *values.shape))
        embedded = controller.manifest.embedded
        if part is parts[-1] and embedded is not None:
            steps = np.round(busy["play_time_s"] * controller.manifest.rate_hz)  # then the last one
            values = part.tap.inputs[embedded.time_step]
            asked = np.array([controller.asked_row(step) for step in steps], values.dtype)
            fed[embedded.time_step] = np.repeat(asked, values.size).reshape(len(busy), *values.shape)
        recordings.append(part.recording(fed, np.arange(len(busy))))
    return [*recordings[:-1], replace(recordings[-1], acted=np.array(busy["action"]))]


def from_noise(network: LoadedModel, onnx: bytes, ticks: int, seed: int) -> Recording:
    """Standard normal numbers (0, 1, 2, ... for whole-number inputs), for a network without a manifest."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, values in network.inputs.items():
        shape = (ticks, *values.shape)
        count = np.arange(ticks).reshape(ticks, *[1] * values.ndim)
        is_whole = np.issubdtype(values.dtype, np.integer)
        drawn = np.broadcast_to(count, shape) if is_whole else rng.normal(size=shape)
        feeds[name] = np.ascontiguousarray(drawn.astype(values.dtype))
    return Recording("policy", onnx, feeds, {}, None, np.ones(ticks, np.bool_), np.arange(ticks))
