"""Where the other joints have to be while one joint sweeps its whole range, so that no limb runs into another."""

from __future__ import annotations

from runtime.robot import Robot

_SIDES = (("left", 1.0), ("right", -1.0))
FOLDED_RAD = 2.4
"""Of a knee, short of where a G1's shank would touch its thigh."""


def posture_for(robot: Robot, joint: str) -> dict[str, float]:
    """Places (rad) of a robot's joints for a sweep of one of them; the joint itself is left out.

    Humanoids of the G1's build, by joint names: legs straight and a little apart, arms out of the way of the legs, the
    other leg or arm further out where the one sweeps inwards. A robot without such joints keeps zero.
    """
    places = {row.name: min(max(0.0, row.lower_rad), row.upper_rad) for row in robot.joints}
    for side, sign in _SIDES:
        _put(places, f"{side}_hip_roll_joint", 0.15 * sign)
        _put(places, f"{side}_shoulder_roll_joint", 0.3 * sign)
    for side, sign in _SIDES:
        other = "right" if side == "left" else "left"
        if joint.startswith(f"{side}_hip"):
            _put(places, f"{other}_hip_roll_joint", -0.8 * sign)
            for each, outwards in _SIDES:
                _put(places, f"{each}_shoulder_roll_joint", 1.2 * outwards)
        if joint in (f"{side}_hip_yaw_joint", f"{side}_hip_roll_joint"):
            _put(places, f"{side}_hip_pitch_joint", -0.4)
        if joint == f"{side}_shoulder_roll_joint":
            _put(places, f"{side}_shoulder_pitch_joint", -1.4)
        elif joint.startswith(f"{side}_shoulder") or joint.startswith(f"{side}_elbow") or f"{side}_wrist" in joint:
            _put(places, f"{side}_shoulder_roll_joint", 0.9 * sign)
        if joint == f"{side}_shoulder_yaw_joint":
            _put(places, f"{side}_elbow_joint", 1.5)  # a G1's arm is straight there: the forearm swings round nothing
    places.pop(joint, None)
    return places


def posture_to_tell(robot: Robot, joint: str) -> dict[str, float]:
    """Likewise for a joint that moves about a middle so that its limb tells of its motor.

    A leg that swings from the hip has its knee folded: a third of the inertia, and so much less of what noise and
    wrong masses make of it. An arm that is raised sideways hangs down, where its weight turns that joint.
    """
    places = posture_for(robot, joint)
    for side, _ in _SIDES:
        if joint in (f"{side}_hip_pitch_joint", f"{side}_hip_roll_joint"):
            _put(places, f"{side}_knee_joint", FOLDED_RAD)
        if joint == f"{side}_shoulder_roll_joint":
            _put(places, f"{side}_shoulder_pitch_joint", 0.0)
    return places


def stops_out_of_reach(robot: Robot) -> dict[str, str]:
    """Joints whose own body or weight keeps them from a stop, and which of the two; found on the simulated G1."""
    return {name: why for name, why in _OUT_OF_REACH.items() if any(row.name == name for row in robot.joints)}


_OUT_OF_REACH = {
    **{f"{side}_hip_pitch_joint": "thigh and pelvis can meet first" for side, _ in _SIDES},
    **{f"{side}_shoulder_roll_joint": "arm and chest meet first" for side, _ in _SIDES},
    **{f"{side}_wrist_yaw_joint": "hand and forearm meet first" for side, _ in _SIDES},
    **{f"waist_{axis}_joint": "pelvis and legs are too heavy for half its torque" for axis in ("roll", "pitch")},
}


def _put(places: dict[str, float], joint: str, value: float) -> None:
    if joint in places:
        places[joint] = value
