"""The card of a bundle: what a person wants to know of a controller before it moves a robot, in Markdown."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Mapping
from typing import Any

from export.onnx_cost import measure_cost
from runtime.controller import Controller
from runtime.observation import describe

LATENCY_RUNS = 200
MOST_ROWS = 8
"""Of a list or a record that a card shows."""


def make_card(
    controller: Controller, manifest: Mapping[str, Any], models: Mapping[str, bytes], ticks: int,
    tolerances: Mapping[str, float], provenance: Mapping[str, Any],
) -> str:
    """The card of an opened controller.

    Args:
        manifest: content of its `controller.json`.
        models: its networks by file name.
        ticks: number of golden ticks.
    """
    parts = [
        f"# {controller.manifest.name}", _about(controller, manifest), "## Networks", _networks(controller, models),
        "## Inputs", _inputs(controller), "## Actions and gains", _joints(controller), "## Golden vectors",
        f"{ticks} ticks in `golden.npz`, replayed whenever the bundle is opened. Tolerances (absolute up to 1, "
        "relative above): " + ", ".join(f"{name} {value:g}" for name, value in tolerances.items()) + ".",
        "## Provenance", _provenance(provenance), "## How to verify",
        "```\nexoactor export bundle verify FOLDER\n```\n\nchecks the hash of every file, the signature, the robot and "
        "the golden vectors, as a robot does before it moves.",
    ]
    return "\n\n".join(parts) + "\n"


def _about(controller: Controller, manifest: Mapping[str, Any]) -> str:
    checked = controller.manifest
    rows = [
        ("what", manifest.get("description", "not described")),
        ("kind", checked.kind),
        ("robot", f"{checked.robot.name}: {checked.robot.description}"),
        ("rate", f"{checked.rate_hz:g} Hz"),
        ("source", manifest.get("source", "not named")),
        ("licence", manifest.get("licence", "not named")),
    ]
    if checked.command_ranges is not None:
        spans = zip(("vx m/s", "vy m/s", "yaw rate rad/s"), checked.command_ranges, strict=True)
        rows.append(("commands", ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in spans)))
    return _table(("", ""), rows)


def _networks(controller: Controller, models: Mapping[str, bytes]) -> str:
    rows, notes = [], []
    for name, data in models.items():
        cost = measure_cost(data)
        rows.append((f"`{name}`", f"{len(data):,}", f"{cost.parameters:,}", f"{cost.flops:,}"))
        if cost.uncounted:
            notes.append(f"Not counted in `{name}`: {', '.join(cost.uncounted)}.")
    notes.append(
        f"Inference took {_latency_us(controller):.0f} us (median of {LATENCY_RUNS}) where the bundle was made: "
        f"{platform.machine()}, one thread, CPU."
    )
    return _table(("file", "bytes", "parameters", "FLOPs an inference"), rows) + "\n\n" + "\n".join(notes)


def _latency_us(controller: Controller) -> float:
    taken = []
    for _ in range(LATENCY_RUNS):
        start = time.perf_counter_ns()
        for network in controller.networks:
            network.model.run()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def _inputs(controller: Controller) -> str:
    parts = [f"```\n{describe(observation)}\n```" for observation, _, _ in controller.observations]
    hidden = ", ".join(f"`{name_in}` from `{name_out}`" for name_in, name_out in controller.manifest.recurrent)
    if hidden:
        parts.append(f"Hidden state: {hidden}; zero after a reset.")
    return "First entry, entries, term:\n\n" + "\n\n".join(parts)


def _joints(controller: Controller) -> str:
    checked = controller.manifest
    columns = zip(checked.order.names, checked.default_pose, checked.action_scale, checked.action_offset, checked.kp,
                  checked.kd, strict=True)
    rows = [(f"`{name}`", *(f"{value:g}" for value in values)) for name, *values in columns]
    rows += [(f"`{name}` (held)", f"{q:g}", "", "", f"{kp:g}", f"{kd:g}") for name, (q, kp, kd) in checked.held.items()]
    clip = "none" if checked.action_clip is None else f"{checked.action_clip[0]:g} to {checked.action_clip[1]:g}"
    return f"Target = action x scale + offset, rad. Bounds of the raw action: {clip}.\n\n" + _table(
        ("joint", "default rad", "scale", "offset rad", "kp N m/rad", "kd N m s/rad"), rows
    )


def _provenance(provenance: Mapping[str, Any]) -> str:
    """Short values in one table; a list of records as a table of its own, thinned out; the rest is in `bundle.json`."""
    rows: list[tuple[str, Any]] = []
    tables = []
    for key, value in provenance.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            shown = [*value[: -1 : max(1, len(value) // MOST_ROWS)], value[-1]]
            head = tuple(value[0])
            tables.append(f"{key}:\n\n" + _table(head, [[_short(row.get(name, "")) for name in head] for row in shown]))
            continue
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{key} {name}".strip(), _short(part)) for name, part in parts]
    return "\n\n".join([_table(("", ""), rows), *tables]) if rows or tables else "Not recorded."


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(part)}" for name, part in value.items())
    if isinstance(value, list):
        if len(value) > MOST_ROWS:
            return f"{len(value)}, see bundle.json"
        return ", ".join(_short(part) for part in value)
    return str(value)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
