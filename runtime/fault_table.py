"""The one table of faults: what can be wrong, who notices, how soon, and what is done about it.

It is the code's data, the page `docs/faults.md` (a test holds them equal) and the parameter list of the tests and of
`exoactor campaign`. Rows that a running gate is told of come first: their place is their bit. After them come the
supervisor's alarms, and what is refused before anything moves.

`row` numbers the 64 kinds of fault this project answers; a kind may have several flags, one a severity.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Mode(IntEnum):
    """What the gate is doing. From HOLD on, higher is more severe."""

    DISARMED = 0
    """Watching only: nothing is written."""
    READY = 1
    """Armed: targets are followed, slowly, towards the start pose."""
    TRACK = 2
    """Armed: targets are followed."""
    HOLD = 3
    """The reference is frozen, the policy balances."""
    STAND = 4
    """The reference goes back to standing, the policy balances."""
    DAMP = 5
    """No stiffness, only damping; latched and re-sent."""
    ZERO = 6
    """Drives off."""


class Where(Enum):
    """Which part notices a fault."""

    GATE = "gate"
    POLICY = "policy"
    OPERATOR = "operator process"
    SUPERVISOR = "supervisor"
    START = "before the start"


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        row: kind of fault, 1 to 64; 0 for what belongs to none.
        flag: its name; its place in the table is its bit, for rows that have one.
        meaning: what is wrong, for people.
        unit: of the measured value and the limit.
        where: who notices.
        reaction: the least severe mode it leads to; None only counts (or, before the start, refuses).
        limit: field of `Limits` that holds its limit, or None.
        detect_s: longest time from the fault to the decision; None where it is no matter of time.
        norm: where the figure comes from.
        clears_at: field of `Limits` below (or above) which the flag falls again, where that is not `limit`.
        forbids: a flag without a reaction that forbids arming all the same.
    """

    row: int
    flag: str
    meaning: str
    unit: str
    where: Where
    reaction: Mode | None
    limit: str | None
    detect_s: float | None
    norm: str
    clears_at: str | None = None
    forbids: bool = False

    @property
    def has_bit(self) -> bool:
        """Whether a running gate is told of it."""
        return self.where is not Where.START and not self.is_alarm

    @property
    def is_alarm(self) -> bool:
        """Whether the supervisor alone counts it."""
        return self.where is Where.SUPERVISOR and self.reaction is None

    @property
    def forbids_arming(self) -> bool:
        """Whether nothing is armed while it stands."""
        return self.reaction is not None or self.forbids or self.where is Where.START

    @property
    def cleared_by(self) -> str:
        """Who ends it: counted flags end by themselves, reactions latch."""
        if self.reaction is None:
            return "mending it" if self.where is Where.START else "itself"
        return "a new run" if self.reaction >= Mode.DAMP else "operator"


_OURS = "this project, measured in simulation"
_GATE, _POLICY, _OPERATOR, _SUPERVISOR, _START = Where
_HOLD, _STAND, _DAMP = Mode.HOLD, Mode.STAND, Mode.DAMP
_COUNT = None
FAULTS: tuple[Fault, ...] = (
    # The robot's state.
    Fault(1, "STATE_LATE", "robot state older than it should ever be", "s", _GATE, _COUNT, "state_warn_s", 0.012,
          "two 200 Hz periods"),
    Fault(1, "STATE_STALE", "robot state stale", "s", _GATE, _HOLD, "state_hold_s", 0.042,
          "libfranka stops after 20 missed ms"),
    Fault(1, "STATE_LOST", "robot state lost", "s", _GATE, _DAMP, "state_damp_s", 0.102, "moteus watchdog 100 ms"),
    Fault(2, "STATE_LOSSY", "too many states lost in the last second", "ratio", _GATE, _COUNT, "state_loss_ratio",
          1.1, "libfranka's success rate; PX4's rate checks"),
    Fault(3, "STATE_REORDERED", "a state older than one already seen; dropped", "count", _GATE, _COUNT, None, 0.002,
          "the robot's own counter"),
    Fault(4, "STATE_FROZEN", "states arrive but the robot's counter stands still: they age as lost ones", "s", _GATE,
          _COUNT, "frozen_s", 0.012, _OURS),
    Fault(5, "STATE_CRC", "a state with a wrong CRC; dropped, and when it lasts the state ages", "count", _GATE,
          _COUNT, None, 0.002, "NVlabs/GR00T-WholeBodyControl checks it too"),
    Fault(6, "STATE_NON_FINITE", "NaN or infinity in a joint's state", "samples", _GATE, _DAMP, "non_finite_samples",
          0.008, _OURS),
    Fault(7, "IMU_NON_FINITE", "NaN, infinity or no unit quaternion from the IMU", "samples", _GATE, _DAMP,
          "non_finite_samples", 0.008, "dimensionalOS/dimos: unreadable IMU"),
    Fault(8, "IMU_INCONSISTENT", "orientation and turn rates contradict each other", "rad", _GATE, _DAMP,
          "imu_drift_rad", 0.25, _OURS),
    Fault(9, "TORSO_IMU", "the torso's IMU and the pelvis' disagree through the waist", "rad", _GATE, _COUNT,
          "torso_warn_rad", 0.1, _OURS),
    Fault(9, "TORSO_IMU_FAR", "the torso's IMU and the pelvis' disagree widely", "rad", _GATE, _STAND, "torso_rad",
          0.1, _OURS),
    Fault(10, "IMU_FROZEN", "the IMU repeats itself to the bit", "samples", _GATE, _DAMP, "imu_frozen_samples", 0.042,
          _OURS),
    Fault(11, "GYRO_SATURATED", "a turn rate beyond the sensor's range; one is dropped", "samples", _GATE, _DAMP,
          "gyro_samples", 0.008, "PX4 votes on spikes"),
    Fault(12, "MOTOR_ERROR", "a motor of the arms reports an error", "samples", _GATE, _STAND, "motor_error_samples",
          0.006, "PX4 motor failure"),
    Fault(12, "LEG_MOTOR_ERROR", "a motor that carries the robot reports an error", "samples", _GATE, _DAMP,
          "motor_error_samples", 0.006, "PX4 motor failure"),
    Fault(13, "MOTOR_SILENT", "the drives lose words with a motor", "s", _GATE, _STAND, "motor_silent_s", 0.14,
          _OURS),
    Fault(14, "TEMPERATURE_WARN", "a motor is hot", "C", _GATE, _COUNT, "temperature_warn_c", 3.0,
          "NVlabs/GR00T-WholeBodyControl speaks at 90 C"),
    Fault(14, "TEMPERATURE_HIGH", "a motor is too hot to go on moving", "C", _GATE, _STAND, "temperature_high_c", 3.0,
          "NVlabs/GR00T-WholeBodyControl: 90, below 85 again", clears_at="temperature_clear_c"),
    Fault(14, "TEMPERATURE_CRITICAL", "a motor is about to fail by heat", "C", _GATE, _DAMP, "temperature_max_c", 3.0,
          "moteus derates below its fault temperature"),
    Fault(15, "TORQUE_HIGH", "a joint's torque is beyond its limit; its target is held back", "ratio", _GATE, _COUNT,
          "torque_ratio", 0.006, "unitreerobotics/unitree_rl_mjlab#14: shutdown by torque"),
    Fault(15, "TORQUE_SUSTAINED", "a joint's torque stays beyond its limit", "s", _GATE, _STAND, "torque_s", 0.51,
          _OURS),
    Fault(16, "ENCODER_JUMP", "a joint's position jumps faster than it can turn; one is dropped", "samples", _GATE,
          _DAMP, "encoder_jumps", 0.006, "libfranka stops at discontinuities"),
    Fault(17, "OVERSPEED", "a joint turns faster than its limit, either way", "ratio", _GATE, _DAMP,
          "overspeed_ratio", 0.006, "35 rad/s in NVlabs/GR00T-WholeBodyControl, one-sided there"),
    Fault(17, "FLAIL", "many joints turn fast at once", "joints", _GATE, _DAMP, "flail_joints", 0.024,
          "dimensionalOS/dimos#3621; its 3 of 29 above 5 rad/s would stop recorded walks"),
    Fault(18, "JOINT_RANGE", "a joint stands outside its range; its target is kept inside", "rad", _GATE, _COUNT,
          "range_slack_rad", 0.022, "ros2_control's soft limiter"),
    Fault(19, "TILT", "the base tilts too far: a fall", "rad", _GATE, _DAMP, "tilt_rad", 0.022,
          "dimensionalOS/dimos#3621: 45 deg"),
    # The reference.
    Fault(20, "REFERENCE_LATE", "the streamed reference is late", "s", _POLICY, _HOLD, "reference_hold_s", 0.12,
          "NVlabs/GR00T-WholeBodyControl speaks at 150 ms"),
    Fault(20, "REFERENCE_LOST", "the streamed reference has ended", "s", _POLICY, _STAND, "reference_stand_s", 0.32,
          "axol and PX4 react within 0.5 to 1 s"),
    Fault(21, "REFERENCE_JUMP", "a reference frame jumps; refused and blended over", "rad", _POLICY, _COUNT,
          "reference_jump_rad", 0.022, "libfranka refuses a jump at the start"),
    Fault(22, "REFERENCE_NON_FINITE", "NaN or infinity in the reference", "frames", _POLICY, _HOLD, "bad_references",
          0.082, _OURS),
    Fault(23, "REFERENCE_LIMITED", "too much of the streamed reference is beyond the joints' limits", "ratio",
          _POLICY, _HOLD, "reference_limited_ratio", 1.0, "ros2_control's limiters"),
    Fault(24, "STREAM_FLOOD", "more messages than can be looked at; the oldest are dropped", "count", _OPERATOR,
          _COUNT, None, 1.0, _OURS),
    Fault(25, "STREAM_MALFORMED", "a message that is none; dropped", "count", _OPERATOR, _COUNT, None, 0.022, _OURS),
    Fault(28, "STREAM_VERSION", "the stream changes its protocol or its joints", "count", _POLICY, _HOLD, None, 0.022,
          "NVlabs/GR00T-WholeBodyControl keeps its first version"),
    # The policy and the loops.
    Fault(29, "TARGET_NON_FINITE", "NaN or infinity in the policy's target", "targets", _GATE, _DAMP, "bad_targets",
          0.062, _OURS),
    Fault(30, "TARGET_LIMITED", "a target left the position or rate limit and was held to it", "rad", _GATE, _COUNT,
          None, 0.004, _OURS),
    Fault(30, "TARGET_FAR", "targets stay far outside what the joints can do", "s", _GATE, _STAND, "target_far_s",
          0.225, _OURS),
    Fault(31, "POLICY_SLOW", "the policy takes most of its period, again and again", "ticks", _POLICY, _HOLD,
          "policy_misses", 0.062, "ros2_control counts overruns"),
    Fault(38, "TARGET_STALE", "the policy's target is old: it died, hangs or is late", "s", _GATE, _DAMP, "target_s",
          0.044, "measured: limit + one period"),
    Fault(32, "POLICY_FAULT", "the policy process reported an error, its accelerator's loss among them", "", _POLICY,
          _DAMP, None, 0.044, _OURS),
    Fault(36, "GATE_OVERRUN", "the gate misses its period too often in a second", "count", _GATE, _HOLD,
          "gate_overruns", 0.004, "ros2_control warns at 5 Hz off"),
    Fault(37, "GATE_PAUSE", "the gate stood still for longer than a pause may last", "s", _GATE, _COUNT, "pause_s",
          0.004, _OURS),
    Fault(40, "GATE_RESTARTED", "the gate died and was brought up again", "", _SUPERVISOR, _DAMP, None, 1.0,
          "drives keep the last command"),
    Fault(0, "INTERNAL_ERROR", "an exception inside the gate's own tick", "", _GATE, _DAMP, None, 0.002, _OURS),
    # The robot as a peer.
    Fault(47, "ROBOT_RESTARTED", "the robot's counter began anew: its services restarted", "ms", _GATE, _DAMP, None,
          0.004, _OURS),
    Fault(48, "SECOND_WRITER", "somebody else commands the motors", "count", _GATE, _DAMP, None, 0.014,
          "unitreerobotics/xr_teleoperate#107"),
    Fault(51, "LINK_DOWN", "the network interface lost its carrier", "", _GATE, _DAMP, None, 0.06, _OURS),
    Fault(53, "BATTERY_LOW", "the battery is low", "%", _GATE, _COUNT, "battery_warn", 1.5, "PX4: low"),
    Fault(53, "BATTERY_NO_MOTION", "the battery is too low to begin a motion", "%", _GATE, _COUNT,
          "battery_no_motion", 1.5, "PX4: critical", forbids=True),
    Fault(53, "BATTERY_CRITICAL", "the battery is about to end", "%", _GATE, _STAND, "battery_critical", 1.5,
          "PX4: emergency"),
    Fault(59, "MODE_MACHINE", "the robot says it is another variant", "mode", _GATE, _DAMP, None, 0.004,
          "unitree_rl_lab g1_sub.h"),
    # The operator.
    Fault(54, "OPERATOR_LATE", "the operator's link is late", "s", _GATE, _HOLD, "operator_hold_s", 0.254,
          "PX4, Autoware, axol: 0.5 s"),
    Fault(54, "OPERATOR_LOST", "the operator's link is lost", "s", _GATE, _STAND, "operator_stand_s", 0.504,
          "PX4, Autoware, axol: 0.5 s"),
    Fault(54, "DEADMAN_RELEASED", "the operator let go of the dead-man", "", _GATE, _HOLD, None, 0.012,
          "hold to run"),
    Fault(55, "REMOTE_STOP", "the emergency combination is pressed on the wireless remote", "buttons", _GATE, _DAMP,
          None, 0.002, "Unitree's own damping combination"),
    Fault(55, "ESTOP", "an emergency stop is pressed", "sources", _GATE, _DAMP, None, 0.01, "Spot: CUT"),
    Fault(56, "ESTOP_SILENT", "an emergency stop, or the process that watches them, fell silent", "s", _GATE, _DAMP,
          "estop_silent_s", 0.104, "Spot: endpoints must check in"),
    Fault(0, "OPERATOR_STOP", "stop signal, Ctrl-C or the run's supervisor is gone", "", _GATE, _DAMP, None, 0.004,
          _OURS),
    Fault(57, "REMOTE_OFF", "the wireless remote is off", "s", _GATE, _COUNT, "remote_off_s", 3.01,
          "unitree_rl_lab: 3000 ms, on the wall clock there", forbids=True),
    Fault(62, "UNAUTHORISED", "a message without the right key or lease; dropped", "count", _OPERATOR, _COUNT, None,
          0.022, "Spot: lease"),
    Fault(63, "REPLAYED", "an old, repeated or reordered message; dropped", "count", _OPERATOR, _COUNT, None, 0.022,
          "Spot: lease sequence"),
    # The computer, as the supervisor sees it: alarms, nothing the gate is told of.
    Fault(42, "RESOURCE_LEAK", "a process of the run grows without end", "MiB", _SUPERVISOR, _COUNT, "growth_mib",
          2.0, "NASA F Prime watches its components' health"),
    Fault(43, "DISK_FULL", "the log no longer grows, or the disk is full", "s", _SUPERVISOR, _COUNT, "log_silent_s",
          2.0, _OURS),
    Fault(45, "CLOCK_JUMP", "the wall clock jumped; control does not use it", "s", _SUPERVISOR, _COUNT,
          "clock_jump_s", 1.0, "ros2_control's clocks are monotonic"),
    Fault(46, "CPU_STARVED", "this computer has no time left for the run", "ratio", _SUPERVISOR, _COUNT, "late_ratio",
          1.5, _OURS),
    # Refused before anything moves.
    Fault(26, "JOINT_ORDER", "joints in another order than the network's", "", _START, None, None, None,
          "orders by name, hashed in the bundle"),
    Fault(27, "CLIP_CONVENTION", "a clip of another frame rate or quaternion order", "", _START, None, None, None,
          _OURS),
    Fault(33, "ENGINE_STALE", "a TensorRT engine of another network, version or GPU", "", _START, None, None, None,
          "NVlabs/GR00T-WholeBodyControl hashes its cache"),
    Fault(34, "BUNDLE_TAMPERED", "a file of the bundle is not the signed one", "", _START, None, None, None,
          "Ed25519 and SHA-256"),
    Fault(35, "GOLDEN_MISMATCH", "the network does not compute what it did when it was exported", "", _START, None,
          None, None, "PX4 preflight"),
    Fault(49, "MOTION_SERVICE", "the robot's own motion service is still active", "", _START, None, None, 8.0,
          "Unitree's motion switcher"),
    Fault(50, "NO_ROBOT", "no robot on this domain and interface", "s", _START, None, None, 8.0,
          "NVlabs/GR00T-WholeBodyControl#157"),
    Fault(58, "WRONG_VARIANT", "the robot is not the variant the controller is for", "", _START, None, None, 8.0,
          "unitree_rl_lab g1_sub.h"),
    Fault(60, "CALIBRATION", "the calibration is expired, edited or another robot's", "", _START, None,
          "calibration_days", None,
          _OURS),
    Fault(61, "JOINT_OFFSET", "a joint is not where the start pose says", "rad", _START, None, "preflight_pose_rad",
          None, "libfranka refuses a wrong start pose"),
    Fault(64, "UNSAFE_FILE", "a motion, bundle or calibration file that could run code or exhaust memory", "", _START,
          None, None, None, "SMPL-X, TWIST2 and GMR ship pickles"),
)
UNFLAGGED = {
    39: "TARGET_STALE", 41: "TARGET_STALE", 44: "GATE_OVERRUN", 52: "OPERATOR_LATE",
}
"""Kinds of fault that look like another one to whoever notices: a stopped or killed policy, a stalled disk, Wi-Fi."""
FLAGS = tuple(fault for fault in FAULTS if fault.has_bit)
"""The rows with a bit: the first of `FAULTS`."""
PLACE = {fault.flag: place for place, fault in enumerate(FAULTS)}
BIT = {fault.flag: 1 << place for place, fault in enumerate(FLAGS)}


def table_markdown() -> str:
    """The table as docs/faults.md shows it."""
    lines = ["| # | flag | what is wrong | noticed by | within | reaction | limit (setting) | cleared by | norm |",
             "|---|---|---|---|---|---|---|---|---|"]
    for fault in FAULTS:
        if fault.reaction is not None:
            reaction = fault.reaction.name
        else:
            reaction = "refused" if fault.where is Where.START else "counted" + fault.forbids * ", forbids arming"
        within = "-" if fault.detect_s is None else f"{fault.detect_s * 1000:.0f} ms"
        limit = (fault.limit or "-") + (f", {fault.clears_at}" if fault.clears_at else "")
        lines.append(f"| {fault.row or '-'} | `{fault.flag}` | {fault.meaning} | {fault.where.value} | {within} | "
                     f"{reaction} | {limit} | {fault.cleared_by} | {fault.norm} |")
    lines += [f"| {row} | as `{flag}` | | | | | | | |" for row, flag in sorted(UNFLAGGED.items())]
    return "\n".join(lines)
