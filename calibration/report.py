"""What a routine leaves for people and programs: report.json and report.html beside the raw recording."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from calibration.routine import Curve, Found
from runtime.report_page import BLUE, GREY, ORANGE, RED, STYLE, draw_lines

COLOURS = (BLUE, ORANGE, RED, GREY)
MOST_POINTS = 2000
SHOWN = ("serial", "operator", "file", "raw", "raw_sha256", "seconds", "stopped")


def write_report(
    out: Path, about: Mapping[str, Any], found: Found | None,
    changes: Sequence[tuple[str, float | None, float | None]],
) -> dict[str, Any]:
    """Write both; returns what report.json holds.

    Args:
        about: routine, robot, outcome, what stopped it, file, raw and its hash.
        found: of the fit; None for a routine that did not end.
        changes: (key, in force, found) of values that would change.
    """
    report: dict[str, Any] = {**about, "changes": [
        {"key": key, "before": before, "after": after} for key, before, after in changes]}
    if found is not None:
        report["values"] = [asdict(value) for value in found.values]
        report["verdicts"] = [asdict(verdict) for verdict in found.verdicts]
        report["facts"] = found.facts
    for name, text in (("report.html", _page(report, found)), ("report.json", json.dumps(report, indent=1))):
        fresh = out / f"{name}.tmp"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(out / name)
    return report


def _page(report: Mapping[str, Any], found: Found | None) -> str:
    good = report["outcome"] == "written"
    title = f"{report['routine']} of {report['robot']}"
    facts = "".join(f"<tr><td>{html.escape(key.replace('_', ' '))}</td><td>{html.escape(str(report[key]))}</td></tr>"
                    for key in SHOWN if report.get(key))
    parts = [f"<!doctype html><meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style>",
             f"<h1>{html.escape(title)}</h1><p class='big {'ok' if good else 'bad'}'>{report['outcome']}</p>",
             f"<table>{facts}</table>"]
    if found is not None:
        parts += ["<h2>Verdicts</h2>", _table(["", "measured", "limit", "what to do"], [
            (verdict.name, verdict.measured, verdict.limit, "" if verdict.ok else verdict.what_to_do, verdict.ok)
            for verdict in found.verdicts])]
        before = {row["key"]: row["before"] for row in report["changes"]}
        parts += ["<h2>Values</h2>", _table(["", "found", "95 % within", "in force"], [
            (value.key, f"{value.value:.5f}", f"+- {value.half_width:.5f}",
             _before(before, value.key), True) for value in found.values])]
        parts += [_picture(curve) for curve in found.curves]
    return "\n".join(parts)


def _before(before: Mapping[str, float | None], key: str) -> str:
    value = before.get(key)
    return "the same" if key not in before else "-" if value is None else f"{value:.5f}"


def _table(head: Sequence[str], rows: Sequence[tuple[str, str, str, str, bool]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = ""
    for *cells, ok in rows:
        line = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        body += f"<tr class='{'' if ok else 'bad'}'>{line}</tr>"
    return f"<table><tr>{top}</tr>{body}</table>"


def _picture(curve: Curve) -> str:
    drawn = []
    for (x, y), colour in zip(curve.lines.values(), COLOURS * len(curve.lines), strict=False):
        keep = np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(np.intp)
        drawn.append((np.asarray(x)[keep], np.asarray(y)[keep], colour))
    lines = draw_lines(drawn, curve.y_label, curve.x_label)
    return f"<h2>{html.escape(curve.title)}</h2><p>{html.escape(', '.join(curve.lines))}</p>{lines}"
