"""What a campaign found, as one JSON object and one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.report_page import STYLE

SCHEMA = "exoactor-campaign/1"
_KEYS = ("row", "flag", "how")


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each injection: its worst times, its outcomes, and every run.

    Args:
        rows: of `runner.as_rows`.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in _KEYS), []).append(row)
    faults = []
    for runs in groups.values():
        first = runs[0]
        times = [run["detected_s"] for run in runs if run["detected_s"] is not None]
        reacted = [run["reacted_s"] for run in runs if run["reacted_s"] is not None]
        bad = [run for run in runs if not run["ok"]]
        shown = bad[0] if bad else first
        faults.append({
            "row": first["row"], "flag": first["flag"], "fault": first["fault"], "how": first["how"],
            "runs": len(runs), "wrong": len(bad), "injected_t": shown["injected_t"],
            "detected_s": max(times) if times else None, "missed": len(runs) - len(times),
            "reacted_s": max(reacted) if reacted else None, "limit_s": first["limit_s"],
            "reaction": shown["reaction"], "expected": first["expected"], "outcome": shown["outcome"],
            "by_flag": first["by_flag"], "why": shown["why"],
            "each": [{key: run[key] for key in ("motion", "seed", "injected_t", "detected_s", "reacted_s", "reaction",
                                                "outcome", "ok", "why")} for run in runs],
        })
    return faults


def make_report(
    controller: str, motions: Sequence[str], seeds: int, rows: Sequence[dict[str, Any]], took_s: float,
    nominal: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole of it; `wrong` counts false trips and falls of nominal running too."""
    wrong = sum(not row["ok"] for row in rows)
    false = 0 if nominal is None else nominal["false_trips"] + nominal["falls"]
    runs = len(rows) + (0 if nominal is None else nominal["runs"])
    kinds = {row["row"] for row in rows if row["row"]}
    return {
        "schema": SCHEMA, "runs": runs, "wrong": wrong + false, "controller": controller, "motions": list(motions),
        "seeds": seeds, "faults": summarise(rows), "nominal": nominal,
        "totals": {"runs": runs, "wrong": wrong + false, "missed": sum(row["outcome"] == "missed" for row in rows),
                   "fell": sum(row["outcome"] == "fell" for row in rows), "kinds": len(kinds),
                   "by_flag": sum(row["by_flag"] for row in rows), "took_s": round(took_s, 1)},
    }


def table(report: dict[str, Any]) -> str:
    """For a terminal: a line for each injection, what is wrong below it."""
    lines = [f"{'#':>2} {'flag':<22}{'runs':>5} {'worst':>8} {'limit':>8}  {'reaction':<9}{'expected':<9}outcome"]
    for fault in report["faults"]:
        mark = "" if not fault["wrong"] else f"   WRONG {fault['wrong']} of {fault['runs']}: {fault['why']}"
        lines.append(f"{fault['row'] or '-':>2} {fault['flag']:<22}{fault['runs']:>5} {ms(fault['detected_s']):>8} "
                     f"{ms(fault['limit_s']):>8}  {fault['reaction']:<9}{fault['expected']:<9}{fault['outcome']}"
                     f"{' (by flag)' if fault['by_flag'] else ''}{mark}")
    return "\n".join(lines)


def ms(seconds: float | None) -> str:
    """Milliseconds for people; "-" for none."""
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def write_page(path: Path, report: dict[str, Any]) -> None:
    """One file that opens anywhere."""
    totals, good = report["totals"], report["wrong"] == 0
    body = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>exoactor campaign</title>
<style>{STYLE}body{{max-width:1200px}}</style></head><body>
<h1>Fault campaign of {html.escape(str(report['controller']))}</h1>
<p class="big {'ok' if good else 'bad'}">{report['runs']} runs, {report['wrong']} wrong</p>
<p>{totals['kinds']} of 64 kinds of fault; motions {html.escape(', '.join(report['motions']))}; {report['seeds']} seeds;
 {totals['fell']} falls, {totals['missed']} missed, {totals['by_flag']} by flag only; {totals['took_s']} s.</p>
{_nominal(report['nominal'])}<h2>Faults</h2>{_faults(report['faults'])}</body></html>"""
    path.write_text(body, encoding="utf-8")


def _nominal(nominal: dict[str, Any] | None) -> str:
    if nominal is None:
        return ""
    bad = nominal["false_trips"] + nominal["falls"]
    counted = ", ".join(f"{name} {count}" for name, count in nominal["counted_ticks"].items()) or "nothing"
    return (f"<h2>Nominal running</h2><p class=\"{'bad' if bad else 'ok'}\">{nominal['hours']} h simulated in "
            f"{nominal['runs']} runs, {100 * nominal['loss']:.0f} % of states lost, {ms(nominal['jitter_s'])} jitter: "
            f"{nominal['false_trips']} false trips, {nominal['falls']} falls; counted ticks: "
            f"{html.escape(counted)}</p>")


def _faults(faults: Sequence[dict[str, Any]]) -> str:
    rows = []
    for fault in faults:
        limit_s, worst_s = fault["limit_s"], fault["detected_s"]
        share = 0.0 if not limit_s or worst_s is None else min(worst_s / limit_s, 1.0)
        cells = (
            f"<td class='n'>{fault['row'] or '-'}</td><td><b>{fault['flag']}</b><br>{html.escape(fault['how'])}</td>"
            f"<td class='n'>{fault['runs']}</td><td style='width:22%'>{ms(worst_s)} of {ms(limit_s)}"
            f"<div style='background:#2a6fdb;height:6px;width:{100 * share:.0f}%'></div></td>"
            f"<td>{fault['reaction']}</td><td>{fault['expected']}</td><td>{fault['outcome']}</td>"
        )
        verdict = "<td class='ok'>ok</td>" if not fault["wrong"] else (
            f"<td class='bad'>{fault['wrong']} wrong: {html.escape(fault['why'])}</td>")
        rows.append(f"<tr>{cells}{verdict}</tr>")
    head = ("<tr><th>#</th><th>flag, how it was brought about</th><th>runs</th><th>worst time to the decision</th>"
            "<th>reaction</th><th>expected</th><th>outcome</th><th></th></tr>")
    return f"<table>{head}{''.join(rows)}</table>"
