"""`report.html` of an imagined run: each action's findings, and curves of the estimate beside the truth."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.imagine.body import HANDS, Body
from export.motion.plots import BLUE, ORANGE, plot
from export.motion.show import STYLE

_MORE = """table{border-collapse:collapse;width:100%;font-size:13px}td,th{padding:3px 10px 3px 0;text-align:left;
border-bottom:1px solid #e3e8ee;vertical-align:top}.advice{color:#b26a00}.ok{color:#1d7f3f}"""
_HEAD = ("failure", "row", "value", "limit", "verdict", "when", "what was found")
F64 = npt.NDArray[np.float64]


def write_page(path: Path, report: dict[str, Any], bodies: Sequence[tuple[Body, Body | None]]) -> None:
    """Writes the page beside the report; `bodies` are each action's estimate and truth."""
    verdict = "accepted" if report["accepted"] and all(row["accepted"] for row in report["actions"]) else "refused"
    known = sum(row["truth_known"] for row in report["actions"])
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(report['task'])}</title>"
             f"<style>{STYLE}{_MORE}</style><h1>{html.escape(report['task'])}</h1>"
             f"<p><b class={verdict}>{verdict}</b>; the truth is known of {known} of {len(report['actions'])} actions. "
             "Blue is the estimate, orange the truth. Lengths are those of a person of 1.69 m.</p>"
             f"<h2>The whole</h2>{_table(report['whole'])}"]
    for row, (body, truth) in zip(report["actions"], bodies, strict=True):
        title = f"{row['action']}. {row['verb']} {row['object']}".strip()
        state = "accepted" if row["accepted"] else "refused"
        parts.append(f"<h2>{html.escape(title)}: <span class={state}>{state}</span></h2>"
                     f"<p>{row['duration_s']:.2f} s, {html.escape(row['motion'])}</p>{_table(row['findings'])}"
                     + "".join(_plots(body, truth)))
    path.write_text("".join([*parts, "</html>\n"]), "utf-8")


def _table(findings: Sequence[dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    return f"<table><tr>{head}</tr>{''.join(_row(finding) for finding in findings)}</table>"


def _row(finding: dict[str, Any]) -> str:
    when = "" if finding["from_s"] is None else f"{finding['from_s']:.2f} to {finding['to_s']:.2f} s"
    value = "none" if finding["value"] is None else f"{finding['value']:.4g} {finding['unit']}"
    more = f". {finding['what_to_do']}" if finding["what_to_do"] else ""
    cells = (finding["failure"], finding["check"], value, f"{finding['limit']:.4g}",
             f"<span class={finding['verdict']}>{finding['verdict']}</span>", when,
             html.escape(f"{finding['detail']}{more}"))
    return f"<tr title=\"{html.escape(finding['source'])}\">" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _plots(body: Body, truth: Body | None) -> list[str]:
    """Heights of pelvis and hands, the root's way, heading and pitch over time."""
    def curves(values: Any) -> list[tuple[str, F64, str]]:
        out = [("estimate", np.asarray(values(body), np.float64), BLUE)]
        if truth is not None:
            other = np.full(body.frames, np.nan)
            true = np.asarray(values(truth), np.float64)[:body.frames]
            other[:len(true)] = true
            out.append(("truth", other, ORANGE))
        return out

    t = np.arange(body.frames) / body.fps
    return [plot(title, t, curves(values)) for title, values in (
        ("pelvis height, m", lambda one: one.joints[:, 0, 2]),
        ("left hand height, m", lambda one: one.joints[:, HANDS[0], 2]),
        ("right hand height, m", lambda one: one.joints[:, HANDS[1], 2]),
        ("way of the pelvis from its first place, m",
         lambda one: np.linalg.norm(one.joints[:, 0, :2] - one.joints[0, 0, :2], axis=1)),
        ("heading from its first, rad", lambda one: one.heading - one.heading[0]),
        ("pelvis leaning forwards, rad", lambda one: one.pitch))]
