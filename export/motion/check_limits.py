"""What `exoactor motion check` looks at, and how much of each it takes: one table, also the documentation's."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.clip import MAX_JOINT_SPEED_RATIO, MAX_ROOT_SPEED_M_S, RANGE_TOLERANCE_RAD


@dataclass(frozen=True)
class Check:
    """One row.

    Attributes:
        value: what is measured.
        unit: of value and limits, "" for a number.
        advice: more than this is worth a look; None where nothing is.
        refused: more than this does not pass; None where nothing is refused.
        source: where the two figures come from.
        what_to_do: about a finding.
        repair: what `--repair` does; "" where it does nothing.
        human: whether it applies to a human's motion too.
    """

    value: str
    unit: str
    advice: float | None
    refused: float | None
    source: str
    what_to_do: str
    repair: str = ""
    human: bool = False


_WALKS = "the largest of four published walks (amazon-far/TWIST2 @ d5c7108) is {}"
TELEPORT = "the motion jumps there: cut those frames, or split the motion in two"

CHECKS: dict[str, Check] = {
    "joints": Check("joints the robot has and the motion lacks, or the other way round", "", None, 0,
                    "a clip has exactly its robot's joints", "retarget the motion to this robot, or choose --robot"),
    "frames": Check("frames below the three that velocities need", "", None, 0, "central differences",
                    "export a longer motion", human=True),
    "finite": Check("frames with NaN, infinity or numbers above a million", "", None, 0, "nothing can follow them",
                    "cut them out, or export again", "fill gaps of up to 0.1 s inside the motion, trim its ends"),
    "quaternion_norm": Check("distance of a rotation's quaternion norm from 1", "", 1e-3, 1e-2, "rounding to 3 digits",
                             "check which key holds the rotation", "normalise, where all norms lie in 0.5 to 2"),
    "quaternion_order": Check("1 where the rotations make sense in another order of their numbers only", "", None, 0,
                              "a walk is upright and goes forwards",
                              "exchange w first and w last where the file was written"),
    "rate": Check("times that the rate lies outside 20 to 200 Hz", "", 1, 5,
                  "motion capture and controllers lie between", "correct `fps`", human=True),
    "duration": Check("length", "s", 600, None, "judgement: whole takes are cut into actions", "cut it into actions",
                      human=True),
    "repeated": Check("frames that repeat the one before amid movement", "", 0, None,
                      "a recorder that lost frames repeats the last", "export again at the true rate",
                      "put the middle of the neighbours there"),
    "gaps": Check("steps of twice their neighbours' length", "", 0, None, "a lost frame doubles one step",
                  "export again without losses", "insert the middle frame"),
    "root_speed": Check("root speed between two frames", "m/s", None, MAX_ROOT_SPEED_M_S,
                        "a sprinting robot is slower; corrupt published clips have 40 m/s and more", TELEPORT,
                        "trim, within the first or last second", human=True),
    "root_jump": Check("root speed beyond that of the frames around", "m/s", 2, 3, _WALKS.format("1.5 m/s"), TELEPORT,
                       "trim, within the first or last second", human=True),
    "root_turn": Check("turning speed of the root between two frames", "rad/s", 10, 30,
                       _WALKS.format("18 rad/s, in its first frames; a quarter turn at 30 fps is 47"), TELEPORT,
                       "trim, within the first or last second, what is refused", human=True),
    "joint_range": Check("joint beyond its range", "rad", 1e-3, RANGE_TOLERANCE_RAD, "the robot's table",
                         "check the joint order, or retarget within the limits", "clamp to the range"),
    "joint_speed": Check("joint speed between two frames, of its own limit", "", 1.0, MAX_JOINT_SPEED_RATIO,
                         "the robot's table; good published clips reach 24 rad/s in a first pair of frames",
                         "smooth it, slow it down, or cut it",
                         "trim within the first or last second; then slow the motion down, at most three times"),
    "joint_acceleration": Check("joint acceleration", "rad/s^2", 1000, 3000, _WALKS.format("695 rad/s^2"),
                                "smooth it: a spike of one frame looks so",
                                "put spikes of one frame between their neighbours"),
    "joint_jerk": Check("joint jerk, root mean square of the worst joint", "rad/s^3", 4500, None,
                        _WALKS.format("2264 rad/s^3"), "smooth the motion"),
    "root_low": Check("root below a quarter of a metre", "m", 0, 0.25, "judgement: lying, and under the floor",
                      "check units and axes: metres, z up, the root at the pelvis"),
    "root_high": Check("height of the root", "m", 1.2, 2.0, "a G1 stands at 0.79 m",
                       "check units and axes: metres, z up"),
    "ground": Check("distance of the feet's usual lowest point from the floor", "m", 0.03, 0.10,
                    _WALKS.format("0.017 m"), "move the motion up or down", "move all frames by one constant",
                    human=True),
    "penetration": Check("how far a part of the body is under the floor", "m", 0.04, 0.10, _WALKS.format("0.028 m"),
                         "retarget with a foot lock", "the constant of `ground`, if that is found too"),
    "floating": Check("longest time in the air", "s", 0.6, 1.5, "a leap of half a metre takes 0.6 s",
                      "check the root's height: nothing holds the robot there"),
    "gliding": Check("longest time with feet on the floor, none of them standing", "s", 0.5, 1.5,
                     "at a walk one foot always stands", "check that root and legs belong together"),
    "foot_skate": Check("mean speed of feet that stand", "m/s", 0.3, None, _WALKS.format("0.22 m/s"),
                        "retarget with a foot lock", human=True),
    "self_collision": Check("how deep two parts of the robot reach into each other", "m", 0.04, 0.08,
                            _WALKS.format("0.037 m, a hand in a thigh's hull"), "move the limbs apart"),
    "velocity_factor": Check("declared joint velocities against those of the positions: factor off 1", "", 0.05, 0.25,
                             "their ratio is the error of the rate", "correct `fps`, or the velocities",
                             "leave them out: velocities are derived from positions"),
    "velocity_error": Check("declared joint velocities: error beyond a factor, of their size", "", 0.3, None,
                            "filtered velocities differ by less", "derive the velocities again",
                            "leave them out: velocities are derived from positions"),
    "start_pose": Check("joint farthest from the controller's standing pose, first frame", "rad", 1.5, None,
                        _WALKS.format("1.1 rad"), "a run ramps there first: see that its way is free"),
    "end_rest": Check("root speed in the last frame", "m/s", 0.3, None, "judgement: less is stopped in one step",
                      "let the motion end standing: the last frame is held"),
    "body_turn": Check("turning speed of a human's joint in its parent", "rad/s", 25, 60,
                       "judgement: a throwing arm reaches 40, about its length 100", TELEPORT, human=True),
}


def table_markdown() -> str:
    """The table of checks for the documentation."""
    lines = ["| check | what is measured | advice above | refused above | why | `--repair` | human |",
             "|---|---|---|---|---|---|---|"]
    for name, check in CHECKS.items():
        advice, refused = (f"{limit:g} {check.unit}".strip() if limit is not None else "-"
                           for limit in (check.advice, check.refused))
        human = "only" if name == "body_turn" else "yes" if check.human else "-"
        lines.append(f"| `{name}` | {check.value} | {advice} | {refused} | {check.source} | {check.repair or '-'} "
                     f"| {human} |")
    return "\n".join(lines)
