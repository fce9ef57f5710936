"""Golden vectors: what a controller was told at some ticks, and what it made of it; recorded once, replayed at load.

Everything a tick reads from outside is recorded (state in MOTOR order, the reference window, command, step and whatever
else stands in a place of its own), and everything it makes: each observation, the action, the target. A layout, a scale
or a network that is not the recorded one shows in the first tick that reads it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.controller import Controller
from runtime.errors import Refused
from runtime.state import RobotState

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]

TOLERANCES = {"observation": 1e-5, "action": 1e-4}
"""Defaults: float32 against another machine's trigonometry, and another CPU's matrix kernels (measured: 2e-6, 3e-5)."""
FROM_STATE = frozenset({"q", "dq", "quat", "gyro", "accel", "action"})
"""Places the controller fills by itself: from the state, and from its own last action."""
MOST_TICKS = 10_000
MOST_BYTES = 64 << 20
_COLUMNS = ("q", "dq", "tau", "kp", "kd")
_WHAT = "golden vectors"


@dataclass(frozen=True)
class Tick:
    """What one tick is told.

    Attributes:
        state: (3 motors + 10,) float32, `RobotState.floats`: q, dq, tau in MOTOR order, quat_wxyz, gyro, accel.
        window: (frames, values) float64, `ReferenceFrame.values` of each frame of the window.
        places: command, step and every other place that is filled from outside, by name.
    """

    state: F32
    window: Array
    places: Mapping[str, Array]


@dataclass(frozen=True)
class Worst:
    """How far one tensor is from its record.

    Attributes:
        error: the largest of all; absolute for values up to 1, relative above; infinite where it is not a number.
        limit: its tolerance.
        tick, entry, label, expected, found: the worst entry of the first tick beyond the limit (later ones inherit its
            histories), of all ticks when none is. `label` is the term, joint or motor it belongs to.
    """

    error: float
    limit: float
    tick: int
    entry: int
    label: str
    expected: float
    found: float


def external_places(controller: Controller) -> dict[str, F32]:
    """The places of a controller's inputs that something outside of it fills, by name."""
    return {name: place for name, place in controller.inputs.own.items() if name not in FROM_STATE}


def record(controller: Controller, ticks: Iterable[Tick]) -> dict[str, Array]:
    """Run `ticks` on a reset controller and keep what went in and what came out; the controller is reset afterwards.

    Returns:
        `state`, `window`, `offsets`, `place.<name>`, and the outcome: `observation.<i>`, `action`, `target`.
    """
    told = list(ticks)
    arrays: dict[str, Array] = {
        "state": np.array([tick.state for tick in told], np.float32),
        "window": np.array([tick.window for tick in told], np.float64),
        "offsets": np.array(controller.window.offsets, np.int64),
    }
    for name in external_places(controller):
        arrays[f"place.{name}"] = np.array([tick.places[name] for tick in told], np.float32)
    return {**arrays, **_run(controller, arrays)}


def replay(
    controller: Controller, arrays: Mapping[str, Array], tolerances: Mapping[str, float] = TOLERANCES
) -> dict[str, Worst]:
    """Run recorded ticks on a reset controller: the worst entry of each tensor; the controller is reset afterwards.

    Raises:
        Refused: the record is not one of a controller with these inputs and outputs.
    """
    _check_arrays(controller, arrays)
    found = _run(controller, arrays)
    return {name: _worst(controller, name, arrays[name], values, tolerances) for name, values in found.items()}


def refuse_mismatch(what: str, worst: Mapping[str, Worst]) -> None:
    """Raise `Refused` for the tensor that left its tolerance first; within a tick observations before what follows."""
    beyond = {tensor: entry for tensor, entry in worst.items() if not entry.error <= entry.limit}
    if not beyond:
        return
    tensor, entry = min(beyond.items(), key=lambda item: item[1].tick)
    raise Refused(
        f"{_WHAT} of {what}", found=f"{entry.found:.7g}",
        expected=f"{entry.expected:.7g} within {entry.limit:g} in {tensor} at tick {entry.tick}, "
        f"entry {entry.entry} ({entry.label})",
        what_to_do="layout, network or robot are not the ones that were exported: get the bundle again, or export it "
        "anew if the change was meant",
    )


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as an .npz, the same bytes for the same numbers."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return out.getvalue()


def unpack(data: bytes) -> dict[str, Array]:
    """What `pack` wrote.

    Raises:
        Refused: not an .npz of plain arrays, or one that would unpack to more than `MOST_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise Refused(_WHAT, expected=f"at most {MOST_BYTES} bytes unpacked", found=f"{size}",
                          what_to_do="record fewer ticks")
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except Refused:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds for bytes that are not theirs
        raise Refused(_WHAT, expected="an .npz of plain arrays", found=f"{type(error).__name__}: {str(error)[:200]}",
                      what_to_do="export the bundle again") from error


def _run(controller: Controller, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Observations, action and target of each tick; window, places and the controller itself are as new afterwards."""
    state = RobotState(controller.manifest.robot.motors)
    places = {name: place for name, place in external_places(controller).items() if f"place.{name}" in arrays}
    frames = controller.window.frames
    written: list[Array] = [*places.values(), *(frame.values for frame in frames)]
    before = [values.copy() for values in written]
    rows: list[dict[str, Array]] = []
    controller.reset()
    try:
        with np.errstate(all="ignore"):  # what is not finite shows as an infinite error
            for tick in range(len(arrays["state"])):
                state.floats[:] = arrays["state"][tick]
                for frame, values in zip(frames, arrays["window"][tick], strict=True):
                    frame.values[:] = values
                for name, place in places.items():
                    place[:] = arrays[f"place.{name}"][tick]
                controller.tick(state)
                rows.append({name: values.copy() for name, values in _outcome(controller).items()})
    finally:
        for place, values in zip(written, before, strict=True):
            place[:] = values
        controller.reset()
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _outcome(controller: Controller) -> dict[str, F32]:
    out = {f"observation.{i}": observation.values for i, (observation, _, _) in enumerate(controller.observations)}
    return {**out, "action": controller.action, "target": controller.target}


def _check_arrays(controller: Controller, arrays: Mapping[str, Array]) -> None:
    ticks = len(arrays["state"]) if "state" in arrays and arrays["state"].ndim else 0
    if not 0 < ticks <= MOST_TICKS:
        raise _misfit(f"1 to {MOST_TICKS} ticks of `state`", f"{ticks}")
    frames = controller.window.frames
    sizes: dict[str, tuple[int, ...]] = {
        "state": (ticks, 3 * controller.manifest.robot.motors + 10),
        "window": (ticks, len(frames), len(frames[0].values)),
        "offsets": (len(frames),),
        **{f"place.{name}": (ticks, len(place)) for name, place in external_places(controller).items()},
        **{name: (ticks, *values.shape) for name, values in _outcome(controller).items()},
    }
    # A place that came into the runtime after the record stays as a reset leaves it: older bundles go on loading.
    later = {name for name in sizes if name.startswith("place.")} - set(arrays)
    sizes = {name: shape for name, shape in sizes.items() if name not in later}
    if set(sizes) != set(arrays):
        raise _misfit(", ".join(sorted(sizes)), ", ".join(sorted(arrays)))
    for name, shape in sizes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind not in "fi":
            raise _misfit(f"{name} of {shape} numbers", f"{array.shape} of {array.dtype}")
        if not np.isfinite(array).all():
            raise _misfit(f"finite numbers in {name}", "others")
    if tuple(arrays["offsets"]) != controller.window.offsets:
        raise _misfit(f"look-ahead {controller.window.offsets}", f"{tuple(arrays['offsets'].tolist())}")


def _misfit(expected: str, found: str) -> Refused:
    return Refused(_WHAT, expected=expected, found=found,
                   what_to_do="these were recorded with another manifest, network or version: export the bundle again")


def _worst(
    controller: Controller, name: str, expected: Array, found: Array, tolerances: Mapping[str, float]
) -> Worst:
    expected, found = (values.astype(np.float64).reshape(len(values), -1) for values in (expected, found))
    error = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    error = np.where(np.isfinite(error), error, np.inf)
    limit = tolerances["observation" if name.startswith("observation") else "action"]
    per_tick = error.max(axis=1)
    beyond = per_tick > limit
    tick = int(np.argmax(beyond) if beyond.any() else np.argmax(per_tick))
    entry = int(np.argmax(error[tick]))
    return Worst(
        float(per_tick.max()), limit, tick, entry, _label(controller, name, entry),
        float(expected[tick, entry]), float(found[tick, entry]),
    )


def _label(controller: Controller, name: str, entry: int) -> str:
    if name.startswith("observation."):
        rows = controller.observations[int(name.partition(".")[2])][0].rows
        row = next(row for row in reversed(rows) if row.start <= entry)
        return f"{row.label} [{entry - row.start}]"
    if name == "action":
        return controller.manifest.order.names[entry]
    motor, column = divmod(entry, controller.target.shape[1])
    joints = [joint.name for joint in controller.manifest.robot.joints if joint.motor == motor]
    return f"{_COLUMNS[column]} of {joints[0] if joints else f'motor {motor}'}"
