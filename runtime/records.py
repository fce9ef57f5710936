"""The fixed records that travel between processes and into the log, one numpy structured dtype each.

Fields stand largest alignment first, so a record's bytes are also its CDR body and logs need no conversion.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.fault_table import FLAGS
from runtime.state import state_dtype

Dtype = np.dtype[np.void]
GATE_RING, POLICY_RING, STREAM_RING, HAND_RING, ROUTINE_RING = 1024, 256, 64, 256, 4096
"""Records a ring keeps: for the logger 2 s of the gate, 5 s of a 50 Hz policy, 2.5 s of hands, 8 s of a routine; for
the policy 1 s of a 60 Hz stream."""


def status_dtype(motors: int) -> Dtype:
    """Gate -> policy, telemetry, supervisor: the state and what the gate made of it.

    buttons: of the remote; silent: nothing is written, as a routine wanted it; temperature_c: of each motor's hottest
    sensor.
    """
    return np.dtype(
        [
            ("now_ns", "<i8"),
            ("target_sequence", "<u8"),
            ("flags", "<u8"),
            ("state", state_dtype(motors)),
            ("mode", "<u4"),
            ("cause", "<i4"),
            ("buttons", "<u4"),
            ("silent", "<u4"),
            ("temperature_c", "<i2", (motors,)),
        ]
    )


def target_dtype(motors: int) -> Dtype:
    """Policy -> gate; `flags` are those of the table that the policy process raises, `source` is what steers."""
    return np.dtype(
        [
            ("made_ns", "<i8"),
            ("state_ns", "<i8"),
            ("sequence", "<u8"),
            ("flags", "<u8"),
            ("phase", "<u4"),
            ("source", "<u4"),
            ("block", "<f4", (motors, 5)),
        ]
    )


CONTROL_DTYPE: Dtype = np.dtype([("sequence", "<u8"), ("request", "<u4"), ("silence_ms", "<u4")])
"""Supervisor -> gate: an operator's request, counted; silence_ms: for so long a routine wants nothing written."""


OPERATOR_DTYPE: Dtype = np.dtype(
    [
        ("beat_ns", "<i8"),
        ("heard_ns", "<i8"),
        ("engages", "<u8"),
        ("malformed", "<u8"),
        ("unauthorised", "<u8"),
        ("replayed", "<u8"),
        ("dropped", "<u8"),
        ("latency_s", "<f4"),
        ("command", "<f4", (3,)),
        ("source", "<u4"),
        ("held", "<u4"),
        ("stop", "<u4"),
        ("silent", "<u4"),
    ]
)
"""Operator process -> gate, policy, supervisor.

beat_ns: when that process last looked, monotonic. heard_ns: when the newest accepted beat of a commander arrived
(frames do not count), 0 before the first; it outlives a lease. engages: counts the gestures that were accepted, those
to take over and those to hand back. malformed, unauthorised, replayed, dropped: messages not taken, counted.
latency_s: age of the commander's newest message at arrival, by the offset estimate. command: vx, vy (m/s), yaw rate
(rad/s), zeros unless somebody is engaged. source: a `Source`, of the newest accepted gesture; NONE before the first,
CLIP where it handed back to the run's own motion, and nobody is engaged. held: somebody holds the dead-man, of a
routine, or as the one who is engaged; as it was while a commander is not heard, 0 from the moment one is heard again.
stop, silent: bits of emergency-stop sources that are pressed (for half a second at least), or that have fallen silent,
in the order of `RunSettings.operator`.
"""


def stream_dtype(joints: int, channels: int = 0) -> Dtype:
    """Operator or stream process -> policy: one streamed reference frame; joints in the order of the ROBOT's table.

    channels: numbers of the channels besides (`ChannelTable.size`), for controllers that read any.
    form: `operator_message.stream_form` of the frame: the protocol's version and the list of joint names. A frame whose
    form is not this robot's says nothing else: its numbers are NaN.
    """
    return np.dtype(
        [
            ("source_ns", "<i8"),
            ("received_ns", "<i8"),
            ("sequence", "<u8"),
            ("form", "<u8"),
            ("joint_pos", "<f4", (joints,)),
            ("joint_vel", "<f4", (joints,)),
            ("root_pos", "<f4", (3,)),
            ("root_quat_wxyz", "<f4", (4,)),
            *([("channels", "<f4", (channels,))] if channels else []),
        ]
    )


STREAM_DTYPE: Dtype = np.dtype(
    [
        ("beat_ns", "<i8"),
        ("newest_ns", "<i8"),
        ("planner_ns", "<i8"),
        ("starts", "<u8"),
        ("stops", "<u8"),
        ("messages", "<u8"),
        ("frames", "<u8"),
        ("malformed", "<u8"),
        ("dropped", "<u8"),
        ("repeated", "<u8"),
        ("overtaken", "<u8"),
        ("missing", "<u8"),
        ("restarts", "<u8"),
        ("other_version", "<u8"),
        ("planner", "<u8"),
        ("hands", "<f4", (2, 7)),
        ("movement", "<f4", (3,)),
        ("facing", "<f4", (3,)),
        ("speed_m_s", "<f4"),
        ("retarget_p50_us", "<f4"),
        ("retarget_p99_us", "<f4"),
        ("planner_mode", "<i4"),
        ("version", "<u4"),
    ]
)
"""Stream process -> gate, policy, supervisor: what came besides frames, and what became of the messages.

beat_ns: when that process last looked. newest_ns: when the newest frame arrived, 0 before the first. starts, stops:
counted gestures of topic `command`. planner_ns: when the newest message of topic `planner` arrived, 0 before; its
contents follow (-1 m/s: none named). retarget_p50_us, retarget_p99_us: how long a human's frame took, 0 without any.
hands: rad, left first, NaN where none came. version: of the newest pose, 0 before. The others count messages
(`messages`, `malformed`, `dropped`, `planner`, `other_version`) and frame numbers.
"""


def hand_order_dtype(joints: int) -> Dtype:
    """Policy -> gate: of each hand, left first, an index of `HAND_STATES`, or as `hand_gate` has it; joints, rad."""
    return np.dtype([("made_ns", "<i8"), ("sequence", "<u8"), ("state", "<i4", (2,)), ("q", "<f4", (2, joints))])


def hand_log_dtype(joints: int) -> Dtype:
    """One write to the hands, left first: what they are told, `HandFinding`s, when heard, measured, commanded."""
    return np.dtype(
        [
            ("now_ns", "<i8"),
            ("heard_ns", "<i8", (2,)),
            ("q", "<f4", (2, joints)),
            ("dq", "<f4", (2, joints)),
            ("tau", "<f4", (2, joints)),
            ("target", "<f4", (2, joints)),
            ("kp", "<f4", (2,)),
            ("state", "<i4", (2,)),
            ("finding", "<u4", (2,)),
            ("written", "<u4", (2,)),
            ("mode", "<u4"),
            ("temperature_c", "<i2", (2, joints)),
        ]
    )


def _fields(dtype: Dtype) -> list[tuple[str, Any]]:
    return [(name, dtype[name]) for name in dtype.names or ()]


def gate_log_dtype(motors: int) -> Dtype:
    """One line of the gate's log, at its own rate; `temperature_c` of each motor's hottest sensor."""
    return np.dtype(
        [
            ("now_ns", "<i8"),
            ("flags", "<u8"),
            ("target_sequence", "<u8"),
            ("target_state_ns", "<i8"),
            ("late_ns", "<i8"),
            ("tick_ns", "<i8"),
            *_fields(state_dtype(motors)),
            ("command", "<f4", (motors, 5)),
            ("measured", "<f4", (len(FLAGS),)),
            ("mode", "<u4"),
            ("cause", "<i4"),
            ("written", "<u4"),
            ("temperature_c", "<i2", (motors,)),
        ]
    )


def policy_log_dtype(
    motors: int, joints: int, observation: int, estimate: int = 0, *, has_stream: bool = False
) -> Dtype:
    """One line of the policy's log, at its own rate. `reference_q` in POLICY order; `estimate` where there is one.

    Of a run that follows a stream also what steers (`mux.Source`) and, NaN while nothing is followed, how long after
    its fastest arrival a frame is played (`stream_added_s`), and how old the newest frame is (`stream_age_s`).
    """
    return np.dtype(
        [
            ("now_ns", "<i8"),
            ("state_ns", "<i8"),
            ("sequence", "<u8"),
            ("late_ns", "<i8"),
            ("tick_ns", "<i8"),
            ("play_time_s", "<f8"),
            ("root_height_m", "<f4"),
            ("reference_xy_m", "<f4", (2,)),
            ("root_quat_wxyz", "<f4", (4,)),
            ("command", "<f4", (3,)),
            ("reference_q", "<f4", (joints,)),
            ("q", "<f4", (joints,)),
            ("action", "<f4", (joints,)),
            ("target", "<f4", (motors, 5)),
            ("observation", "<f4", (observation,)),
            *([("estimate", "<f4", (estimate,))] if estimate else []),
            *([("stream_added_s", "<f4"), ("stream_age_s", "<f4"), ("source", "<u4")] if has_stream else []),
            ("phase", "<u4"),
            ("mode", "<u4"),
        ]
    )


STRETCH_BYTES = 96
"""Longest name of a stretch or step of a routine, ASCII, padded with zeros."""


def routine_dtype(motors: int) -> Dtype:
    """One tick of a calibration routine: when it ran, the state it saw, the target it set.

    number: counts this file's records from 1, so that a lost one is noticed. stretch: counts the stretches that are
    recorded, `name` is this one's; 0 in a record that only says that the step `name` is finished.
    """
    return np.dtype(
        [
            ("now_ns", "<i8"),
            ("number", "<u8"),
            *_fields(state_dtype(motors)),
            ("target", "<f4", (motors, 5)),
            ("temperature_c", "<f4", (motors,)),
            ("stretch", "<u4"),
            ("name", "u1", (STRETCH_BYTES,)),
        ]
    )


TRUTH_DTYPE: Dtype = np.dtype(
    [("now_ns", "<i8"), ("position", "<f4", (3,)), ("velocity", "<f4", (3,)), ("quat_wxyz", "<f4", (4,)),
     ("foot_force_n", "<f4", (2,))]
)
"""Where a simulator says the base is and what presses its feet (-1: it does not say); no real robot tells."""
