"""What a video model and an estimator get wrong, as ExoActor's paper names it, and how much of each is taken.

One table: the report's, and the documentation's. Rows whose names end in `_error` need the truth, which our own film
keeps and no real video has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from export.motion.check_limits import Check


@dataclass(frozen=True)
class Mode(Check):
    """A row; `failure` is what the paper calls it (arXiv 2604.27711)."""

    failure: str = ""


def _deg(angle: float) -> float:
    return round(math.radians(angle), 4)


_ANEW = "film it anew (--from film), or give another motion (--replace estimate=PATH)"
_SUITE = "our suite's box is 0.2 m high: half of it beside, and a hand closes over or under it"
_ASKED = "what our own estimator is asked to hold"

MODES: dict[str, Mode] = {
    "wrist_bend": Mode(
        "angle between forearm and hand", "rad", _deg(80), _deg(110),
        "AAOS: wrists bend by 80 degrees (flexion); 30 beyond is nobody's wrist",
        "leave the wrists alone: a run's wrists may be held", failure="wrist orientation"),
    "wrist_error": Mode(
        "turn between the hand and the true one, mean while it acts", "rad", _deg(20), _deg(45),
        "halfway between a vertical and a horizontal grasp, which the paper saw taken for each other", _ANEW,
        failure="wrist orientation"),
    "hand_height_error": Mode(
        "height of the hand off the true one while it acts", "m", 0.05, 0.15,
        "advice: a quarter of our suite's box (0.2 m); refused: three quarters of it, past its edge", _ANEW,
        failure="hand height"),
    "hand_at_thing": Mode(
        "height of the acting hand beside the thing's", "m", 0.10, None, _SUITE,
        "put a support below the thing, as the authors did, or say the scene's heights", failure="hand height"),
    "step_length": Mode(
        "longest swing of a foot, of the leg's length", "", 1.2, 2.0,
        "judgement: a stride of 1.2 legs is a fast walk, one of 2 is a leap", _ANEW, failure="step length"),
    "step_length_error": Mode(
        "mean swing of the feet off the true one, of it", "", 0.10, 0.35,
        f"advice: {_ASKED}; refused: judgement, a third of the way is lost", _ANEW, failure="step length"),
    "root_away": Mode(
        "way of the root from first to last frame in an action on the spot", "m", 0.15, 0.5,
        "judgement: half a metre is two steps that nobody asked for", _ANEW, failure="root drift"),
    "root_sink": Mode(
        "rise or fall of the standing feet over the action", "m", 0.05, 0.25,
        "judgement: retargeting takes off one height, not a slope", "convert it with a ground that follows the trend",
        failure="root drift"),
    "root_drift_error": Mode(
        "end of the root's way off the true one, of its length (of half a metre where it is shorter)", "m/m", 0.10,
        0.5, f"advice: {_ASKED}; refused: judgement, half of the way", _ANEW, failure="root drift"),
    "heading_error": Mode(
        "heading at the end off the true one", "rad", _deg(10), _deg(45),
        "judgement: at 45 degrees the robot passes what stands a metre ahead", _ANEW, failure="root drift"),
    "jitter": Mode(
        "mean jerk of the joints' places at 30 Hz", "m/s^3", 400, 2000,
        "white noise of 2 mm and of 10 mm a frame: the first changes nothing of how our tracker waves, the second "
        "makes its joints' jerk 200 times larger; our actor's own motions stay below 20",
        "smooth it before it is put there (exponentially, by 0.6 to 0.85, as GR00T-WholeBodyControl's webcam "
        "demonstration does)", failure="jitter"),
    "unseen": Mode(
        "longest time that an acting hand, or with none a foot, was not seen", "s", 0.5, None,
        "estimators fill in what is hidden; hand states last a quarter of a second",
        "choose another place of the camera", failure="occlusion"),
    "hands_unknown": Mode(
        "share of frames in which the state of an acting hand is not known", "", 0.5, None,
        "judgement: more than half is guessed", "give hand tracks, or tell hands in the chain", failure="occlusion"),
    "signs": Mode(
        "signs of the action that its motion does not show", "", 0, None, "see `export/imagine/signs.py`",
        "look at the video: is this the action?", failure="wrong order of actions"),
    "order": Mode(
        "actions whose motion shows another one's signs, and the other theirs", "", None, 0,
        "a thing is put down before it is lifted", "film it anew (--from film), or exchange the motions by hand",
        failure="wrong order of actions"),
    "end_tilt": Mode(
        "lean of the trunk at the end", "rad", _deg(20), _deg(60), "60 degrees is the robot's own limit of tilt", _ANEW,
        failure="implausible end pose"),
    "end_height": Mode(
        "pelvis below standing at the end, of standing", "", 0.12, 0.4,
        "judgement: who sits is 0.48 lower, and here is no seat", _ANEW, failure="implausible end pose"),
    "end_balance": Mode(
        "trunk beside the middle of the feet at the end", "m", 0.15, 0.4,
        "judgement: a foot reaches 0.2 m forwards; nobody stands 0.4 m beside it", _ANEW,
        failure="implausible end pose"),
    "end_speed": Mode(
        "root speed in the last frame", "m/s", 0.3, None, "as `end_rest` of exoactor motion check",
        "let the action end standing", failure="implausible end pose"),
    "join": Mode(
        "farthest joint, pelvis to pelvis, between this action's last frame and the next one's first", "m", 0.25, None,
        "judgement: what a seam blends without a visible lurch",
        "begin each video with the last picture of the one before", failure="implausible end pose"),
    "pitch": Mode(
        "lean of the pelvis forwards while standing, median", "rad", _deg(10), _deg(21),
        "advice: judgement; refused: told to stand so, our tracker does at 21 degrees, and at 25 walks off, 2 m in 6 s",
        "turn the motion upright before it is put there", failure="root pitch bias"),
    "pitch_error": Mode(
        "lean of the pelvis off the true one while standing, mean", "rad", _deg(4), _deg(15),
        "such a bias makes a robot walk on forwards (NVlabs/GR00T-WholeBodyControl, pull requests 214 and 216); less "
        "than `pitch`, to which the person's own lean comes", _ANEW,
        failure="root pitch bias"),
    "pose_error": Mode(
        "mean distance of the joints from the true ones, pelvis on pelvis", "m", 0.06, 0.2,
        f"advice: {_ASKED}; refused: judgement, a hand's length", _ANEW, failure="pose"),
    "hand_state_error": Mode(
        "share of frames with another hand state than the true one, where one is told", "", 0.05, None, _ASKED,
        "tell hands in the chain", failure="coarse hands"),
}


def table_markdown() -> str:
    """The table for the documentation."""
    lines = ["| the paper's failure | row | what is measured | advice above | refused above | why |",
             "|---|---|---|---|---|---|"]
    for name, mode in MODES.items():
        advice, refused = (f"{limit:.4g} {mode.unit}".strip() if limit is not None else "-"
                           for limit in (mode.advice, mode.refused))
        lines.append(f"| {mode.failure} | `{name}` | {mode.value} | {advice} | {refused} | {mode.source} |")
    return "\n".join(lines)
