"""A reference that lies inside the network: what its manifest says of it (key `reference`, `"source": "model"`).

Such an exporter (HybridRobotics/whole_body_tracking, mjlab, amazon-far/holosoma) writes one motion as constants into
the graph. An input, the time step, picks a row; further outputs are the row. They do not depend on the observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.bodies import Bodies, base_of
from runtime.reader import Reader

KEYS = {"time_step", "joint_pos", "joint_vel", "quat", "quat_order", "position", "bodies", "lag", "start", "settle_s",
        "after"}


@dataclass(frozen=True)
class Embedded:
    """Where the reference stands in the network, and how its deployment plays it.

    Attributes:
        time_step: the input that picks a row, in control periods.
        joint_pos, joint_vel: outputs, joints in POLICY order, rad, rad/s.
        quat: output, orientation in world of one body, or of each of `bodies`.
        quat_order: "wxyz" or "xyzw", of that output.
        position: output, position in world of the same, m; None: the reference has no heights.
        bodies: names of the rows of `quat` and `position`; empty where they are of one body, the anchor.
        lag: 1: a tick's observation shows the row before the one it asks the network for, both 0 at first
            (holosoma); 0: the row asked for before, one ahead from the first tick on (motion_tracking_controller).
        start: "default_pose" or "reference": the pose to ramp to.
        settle_s: how long to stand at the first row before it plays.
        after: "hold" the last row when the motion is over, or blend to "stand".
    """

    time_step: str
    joint_pos: str
    joint_vel: str
    quat: str
    quat_order: str
    position: str | None
    bodies: tuple[str, ...]
    lag: int
    start: str
    settle_s: float
    after: str


def read_embedded(reader: Reader, reference: dict[str, Any]) -> Embedded | None:
    """The reference of a manifest when it lies in the network, else None.

    Raises:
        Refused: keys of a reference in the network without `"source": "model"`, or values that make no sense.
    """
    source = reader.one_of("reference.source", reference.get("source", "clip"), ("clip", "model"))
    given = sorted(KEYS & set(reference))
    if source == "clip":
        if given:
            raise reader.refuse(f"reference.{given[0]}", '"source": "model" beside it', "a reference from a clip")
        return None
    texts = {"time_step": "time_step", "joint_pos": "joint_pos", "joint_vel": "joint_vel", "quat": "body_quat_w"}
    named = {key: reader.text(f"reference.{key}", reference.get(key, usual)) for key, usual in texts.items()}
    if "quat_order" not in reference:
        raise reader.refuse("reference.quat_order", "wxyz or xyzw, as the network's output has it", "nothing")
    position, lag = reference.get("position"), reference.get("lag", 1)
    reader.whole("reference.lag", lag, 0, 1)
    bodies = reader.texts("reference.bodies", reference["bodies"]) if "bodies" in reference else ()
    reader.distinct("reference.bodies", list(bodies))
    return Embedded(
        **named,
        quat_order=reader.one_of("reference.quat_order", reference["quat_order"], ("wxyz", "xyzw")),
        position=None if position is None else reader.text("reference.position", position),
        bodies=bodies,
        lag=int(lag),
        start=reader.one_of("reference.start", reference.get("start", "default_pose"), ("default_pose", "reference")),
        settle_s=reader.number("reference.settle_s", reference.get("settle_s", 1.0), 0, 60),
        after=reader.one_of("reference.after", reference.get("after", "hold"), ("hold", "stand")),
    )


def read_anchor(reader: Reader, bodies: Bodies, reference: dict[str, Any]) -> str:
    """The body that anchor terms compare: the one named, else the robot's base; "" where nothing says.

    Raises:
        Refused: a body that the robot's file does not know.
    """
    body = base_of(bodies) or ""
    if "body" in reference:
        body = reader.text("reference.body", reference["body"])
    if body not in bodies and ("body" in reference or reference.get("source") == "model"):
        raise reader.refuse("reference.body", f"a body of the robot: {', '.join(bodies) or 'its file knows none'}",
                            body or "none")
    return body
