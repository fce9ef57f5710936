"""`report.html`: one self-contained page with inline SVG, so that it opens on any machine, a robot's included."""

from __future__ import annotations

import html
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.faults import Mode
from runtime.manifest import Manifest

Array = npt.NDArray[Any]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 220, 60, 28, 12
INK, BLUE, ORANGE, RED, GREY = "#1c2733", "#2a6fdb", "#e07b1f", "#c9302c", "#9aa5b1"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:960px;margin:24px auto;padding:0 16px}
h1{font-size:24px;margin:0}h2{font-size:17px;margin:28px 0 6px}table{border-collapse:collapse;width:100%}
td,th{padding:3px 10px 3px 0;text-align:left;border-bottom:1px solid #e3e8ee}td.n{text-align:right}
.ok{color:#1d7f3f}.bad{color:#c9302c}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#52606d}
.big{font-size:30px;font-weight:600}
"""


class _Axes:
    """Maps data to the picture and draws ticks."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str) -> None:
        self.x0, self.x1 = x if x[1] > x[0] else (x[0], x[0] + 1)
        self.y0, self.y1 = y if y[1] > y[0] else (y[0], y[0] + 1)
        self.parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
        for value in np.linspace(self.y0, self.y1, 5):
            at = self.py(value)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e3e8ee"/>')
            self.parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        for value in np.linspace(self.x0, self.x1, 9):
            self.parts.append(
                f'<text x="{self.px(value):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{value:.3g}</text>'
            )
        self.parts.append(f'<text x="{WIDTH}" y="{HEIGHT - 22}" text-anchor="end">{html.escape(x_label)}</text>')
        self.parts.append(f'<text x="{LEFT + 4}" y="{TOP}">{html.escape(y_label)}</text>')

    def px(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - 12)

    def py(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - BOTTOM - TOP - 6)

    def line(self, x: Array, y: Array, colour: str) -> None:
        points = " ".join(f"{self.px(a):.1f},{self.py(b):.1f}" for a, b in zip(x, y, strict=True))
        self.parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>')

    def bar(self, x: float, width: float, y: float, colour: str, title: str = "") -> None:
        top = self.py(y)
        self.parts.append(
            f'<rect x="{self.px(x):.1f}" y="{top:.1f}" width="{max(width, 1):.1f}" '
            f'height="{max(self.py(self.y0) - top, 0):.1f}" fill="{colour}"><title>{html.escape(title)}</title></rect>'
        )

    def done(self) -> str:
        return "".join([*self.parts, "</svg>"])


def draw_lines(curves: list[tuple[Array, Array, str]], y_label: str, x_label: str = "s") -> str:
    """Lines of (x, y, colour) as inline SVG; their x need not rise."""
    curves = [(x, y, colour) for x, y, colour in curves if len(x)]
    if not curves:
        return "<p>nothing recorded</p>"
    y_all = np.concatenate([np.asarray(y, np.float64) for _, y, _ in curves])
    low, high = float(y_all.min()), float(y_all.max())
    pad = 0.05 * (high - low) or 0.01
    axes = _Axes((float(min(x.min() for x, _, _ in curves)), float(max(x.max() for x, _, _ in curves))),
                 (low - pad, high + pad), x_label, y_label)
    for x, y, colour in curves:
        axes.line(x, y, colour)
    return axes.done()


def _timeline(x: Array, mode: Array) -> str:
    if not len(x):
        return "<p>nothing recorded</p>"
    colours = {Mode.DISARMED: GREY, Mode.READY: "#7fb3ff", Mode.TRACK: "#1d7f3f", Mode.HOLD: "#e0b81f",
               Mode.STAND: ORANGE, Mode.DAMP: RED, Mode.ZERO: INK}
    edges = [0, *(np.flatnonzero(np.diff(mode.astype(np.int64))) + 1), len(x)]
    parts = [f'<svg viewBox="0 0 {WIDTH} 60">']
    scale = (WIDTH - 12) / max(float(x[-1] - x[0]), 1e-9)
    for first, after in itertools.pairwise(edges):
        kind = Mode(int(mode[first]))
        left = (x[first] - x[0]) * scale
        right = (x[min(after, len(x) - 1)] - x[0]) * scale
        parts.append(f'<rect x="{left:.1f}" y="4" width="{max(right - left, 1):.1f}" height="26" '
                     f'fill="{colours[kind]}"><title>{kind.name} from {x[first]:.2f} s</title></rect>')
        if right - left > 40:
            parts.append(f'<text x="{left + 4:.1f}" y="48">{kind.name} {x[first]:.1f} s</text>')
    return "".join([*parts, "</svg>"])


def _histogram(values: Array, label: str, colour: str) -> str:
    if not len(values):
        return "<p>nothing recorded</p>"
    high = float(np.percentile(values, 99.5)) * 1.1 + 1e-9
    counts, edges = np.histogram(np.clip(values, 0, high), bins=60, range=(0, high))
    axes = _Axes((0, high), (0, float(counts.max())), label, "ticks")
    width = (WIDTH - LEFT - 12) / 60 - 1
    for count, edge in zip(counts, edges[:-1], strict=True):
        axes.bar(float(edge), width, float(count), colour, f"{edge:.0f} us: {count}")
    return axes.done()


def _joint_bars(errors: dict[str, float]) -> str:
    rows = []
    worst = max(errors.values()) or 1.0
    for name, value in errors.items():
        rows.append(f'<tr><td>{html.escape(name)}</td><td class="n">{value:.3f}</td><td style="width:60%">'
                    f'<div style="background:{BLUE};height:10px;width:{100 * value / worst:.0f}%"></div></td></tr>')
    return f"<table>{''.join(rows)}</table>"


def _facts(report: dict[str, Any]) -> str:
    tracking, timing = report["tracking"], report["timing"]
    rows = [
        ("duration", f"{report['duration_s']} s, {report['ticks']} policy ticks"),
        ("mean joint error", _with_unit(tracking["joint_error_rad_mean"], "rad")),
        ("mean root height error", _with_unit(tracking["root_height_error_m_mean"], "m")),
        ("speed over ground", _with_unit(tracking["speed_m_s_mean"], "m/s")),
        ("state to command", _percentiles(timing["state_to_command_us"])),
        ("policy tick", _percentiles(timing["policy_tick_us"])),
        ("gate tick", _percentiles(timing["gate_tick_us"])),
        ("missed deadlines", f"{timing['missed_deadlines']} (policy {timing['missed_deadlines_policy']}, "
                             f"gate {timing['missed_deadlines_gate']})"),
        ("damping frames sent", str(report["damping_frames"])),
        ("counted", ", ".join(f"{k} {v}" for k, v in report["counted"].items()) or "nothing"),
    ]
    return "".join(f"<tr><td>{a}</td><td>{html.escape(b)}</td></tr>" for a, b in rows)


def _with_unit(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{value:.4f} {unit}"


def _percentiles(values: dict[str, float | None]) -> str:
    if values["p50"] is None:
        return "not measured"
    return " / ".join(f"{values[key]:.0f}" for key in ("p50", "p99", "p99_9", "max")) + " us (p50 / p99 / p99.9 / max)"


def _faults(report: dict[str, Any]) -> str:
    if not report["faults"]:
        return "<p class='ok'>none</p>"
    rows = "".join(
        f"<tr><td>{row['time_s']} s</td><td><b>{row['flag']}</b> {html.escape(row['meaning'])}</td>"
        f"<td>{row['measured']} {row['unit']} (limit {row['limit']})</td><td class='bad'>{row['reaction']}</td></tr>"
        for row in report["faults"]
    )
    return f"<table>{rows}</table>"


def _hands(report: dict[str, Any]) -> str:
    """What hands were told and how far from the body; nothing for a run without."""
    if "hands" not in report:
        return ""
    hands = report["hands"]
    rows = "".join(
        f"<tr><td>{row['at_s']:.2f} s</td><td>{row['hand']}</td><td>{row['state']}</td><td>"
        + ("never told" if row["offset_ms"] is None else f"{row['offset_ms']:.1f} ms from the body") + "</td></tr>"
        for row in hands["events"]
    )
    facts = [f"{side} {'moved' if was else 'not there'}, in the end {hands['last_state'][side]}"
             for side, was in hands["connected"].items()]
    facts += [f"{name.lower().replace('_', ' ')} for {count} writes" for name, count in hands["findings"].items()]
    return f"<h2>Hands</h2><p>{html.escape('; '.join(facts))}</p><table>{rows}</table>"


def write_page(path: Path, report: dict[str, Any], curves: dict[str, Any], manifest: Manifest) -> None:
    """Write the page."""
    good = report["outcome"] == "done" and not report["fell"]
    verdict = f"{report['outcome']}{', fell' if report['fell'] else ''}"
    height = [(*curves["height"], BLUE)]
    error = ""
    if manifest.kind == "tracker":
        height.append((*curves["reference_height"], ORANGE))
        error = f"<h2>Tracking error, mean over joints</h2>{draw_lines([(*curves['error'], BLUE)], 'rad')}"
        if report["tracking"]["joint_error_rad"]:
            error += f"<h2>Mean error by joint, rad</h2>{_joint_bars(report['tracking']['joint_error_rad'])}"
    body = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>exoactor run</title>
<style>{STYLE}</style></head><body>
<h1>{html.escape(manifest.name)} on {html.escape(report['robot'])}</h1>
<p class="big {'ok' if good else 'bad'}">{html.escape(verdict)}</p>
<table>{_facts(report)}</table>
<h2>Faults</h2>{_faults(report)}
{_hands(report)}
<h2>Mode</h2>{_timeline(*curves['mode'])}
<h2>Root height, m (blue measured, orange reference)</h2>{draw_lines(height, 'm')}
{error}
<h2>Gate tick</h2>{_histogram(curves['gate_tick_us'], 'us', BLUE)}
<h2>Policy tick</h2>{_histogram(curves['policy_tick_us'], 'us', ORANGE)}
</body></html>"""
    path.write_text(body, encoding="utf-8")
