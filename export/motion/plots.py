"""Plots of a motion as SVG texts of their own: no library, any browser."""

from __future__ import annotations

import html

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 180, 56, 24, 18
BLUE, ORANGE, RED = "#2a6fdb", "#e07b1f", "#c9302c"


def plot(title: str, t: F64, curves: list[tuple[str, F64, str]], limits: tuple[float, float] | None = None) -> str:
    """Curves over time with limits dashed; frames beyond the limits are marked.

    Args:
        t: (T,) s.
        curves: (name, (T,) values, colour) each; values that are not finite leave a hole.
        limits: lower and upper.
    """
    finite = np.concatenate([values[np.isfinite(values)] for _, values, _ in curves] + [np.zeros(0)])
    marks = list(limits or ())
    low = min([*marks, float(finite.min()) if len(finite) else 0.0])
    high = max([*marks, float(finite.max()) if len(finite) else 1.0])
    pad = 0.05 * (high - low) or 0.01
    low, high = low - pad, high + pad
    last = float(t[-1]) or 1.0

    def x(value: float) -> float:
        return LEFT + value / last * (WIDTH - LEFT - 10)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">',
             f'<text x="{LEFT}" y="12">{html.escape(title)}</text>']
    for value in np.linspace(low, high, 5):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e3e8ee"/>'
                     f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for value in np.linspace(0, last, 9):
        parts.append(f'<text x="{x(value):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{value:.3g} s</text>')
    for limit in marks:
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH}" y1="{y(limit):.1f}" y2="{y(limit):.1f}" '
                     f'stroke="{RED}" stroke-dasharray="6 4"/>')
    for name, values, colour in curves:
        for run in _runs(np.isfinite(values)):
            points = " ".join(f"{x(t[i]):.1f},{y(values[i]):.1f}" for i in run)
            parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.4" points="{points}">'
                         f"<title>{html.escape(name)}</title></polyline>")
        if limits is not None:
            for i in np.flatnonzero((values < limits[0] - 1e-9) | (values > limits[1] + 1e-9)):
                parts.append(f'<circle class="beyond" cx="{x(t[i]):.1f}" cy="{y(values[i]):.1f}" r="2.5" '
                             f'fill="{RED}"/>')
    return "".join([*parts, "</svg>"])


def _runs(flags: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    at = np.flatnonzero(flags)
    return [run for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1) if len(run)]
