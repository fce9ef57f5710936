"""The motion estimator's card: what it is, how good it was measured to be, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from export.imagine.motion_estimator.judging import ASKED, SHORTEST_WAY_M, meets, summary
from export.onnx_cost import Cost

_CANNOT = (
    "It has seen nobody but our own mannequin, in our own renders: of a real person it tells nonsense, and the stage "
    "refuses every video that our own film stage did not make.",
    "One person, wholly or nearly in the picture; a camera that stands still, has no roll, and of which the opening "
    "angle is known.",
    "Somebody who is mostly behind something: no such video was rendered, neither to learn from nor to judge by.",
    "Lengths rest on how large a person and the floor's squares usually are: a body that is larger than it looks is "
    "put farther away, and its way becomes longer.",
    "Hands whose middle is behind something have no state, or a guessed one: that of before, where nothing speaks "
    "against it. Those a few pixels large, or pointing at the camera, are guesses too. Toes and fingers are not told.",
    "Somebody's lean while standing is taken out as a bias, up to 0.15 rad: who really stands leaning is set upright.",
)


def make_card(costs: Mapping[str, Cost], sizes: Mapping[str, int], scores: Sequence[Mapping[str, float]],
              provenance: Mapping[str, Any]) -> str:
    """Markdown.

    Args:
        costs, sizes: of each network. scores: of each held-out video.
    """
    found = summary(scores)
    rows = [("joints from the pelvis", f"{found['mpjpe_mm']:.1f} mm", f"{ASKED['mpjpe_mm']:g} mm"),
            (f"path, laid on the true one, where that is over {SHORTEST_WAY_M:g} m",
             f"{100 * found['path_error']:.1f} % of its length", f"{100 * ASKED['path_error']:g} %"),
            ("the same, only first place on first place", f"{100 * found['path_error_from_first']:.1f} %", "-"),
            ("states of hands that are seen", f"{100 * found['hands_right']:.1f} % right",
             f"{100 * ASKED['hands_right']:g} %"),
            ("hands that are hidden", f"{100 * found['hidden_told']:.0f} % told so, the others guessed", "-"),
            ("level of the world", f"{found['level_error_deg']:.2f} deg off", "-"),
            ("torch to ONNX", f"{provenance['parity_torch_onnx']:.1e}", "1e-4"),
            ("a picture, p50, one core", f"{found['p50_ms']:.1f} ms", "-"),
            ("a second of video", f"{found['cpu_s_per_s']:.2f} s", "-")]
    networks = [f"- {name}: {sizes[name]:,} bytes, {cost.parameters:,} parameters, {cost.flops:,} FLOPs"
                for name, cost in costs.items()]
    verdict = "All that was asked for is met." if meets(found) else "**Not all that was asked for is met.**"
    return "\n\n".join([
        "# mannequin", "A person's motion and hand states from a video of our own film stage.", "\n".join(networks),
        f"## Measured on {len(scores)} held-out videos: new bodies, clothes, cameras, light, motions",
        "\n".join(["| | measured | asked |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]), verdict,
        "## What it cannot do", "\n".join(f"- {line}" for line in _CANNOT),
        "## Provenance", "\n".join(f"- {key}: {value}" for key, value in provenance.items()),
    ]) + "\n"
