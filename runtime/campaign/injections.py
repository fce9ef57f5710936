"""How each fault that a running robot can have is brought about in lock-step: one injection a flag, or several.

An injection begins at a moment of a healthy run; from the last healthy tick on its time counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from firmware_bridge.ailments import AILMENTS, Ailment
from firmware_bridge.motor_bus import Q
from runtime.campaign.injection import Begin, Injection, Onset
from runtime.campaign.stream_injections import STREAM_INJECTIONS
from runtime.campaign.trial import Trial
from runtime.fault_table import BIT, PLACE
from runtime.faults import Machine, Mode
from runtime.motor_checks import MOVED_RAD, carrying_motors
from runtime.settings import GATE_HZ


def _ail(name: str, **options: float) -> Begin:
    def begin(trial: Trial, rng: np.random.Generator) -> None:
        trial.ailments.add(Ailment(name, trial.robot.time_s + 0.5 / GATE_HZ, options))

    return begin


def _ail_motor(name: str, among: str, **options: float) -> Begin:
    """A motor of the arms, of what carries the robot, or any."""

    def begin(trial: Trial, rng: np.random.Generator) -> None:
        robot = trial.policy.manifest.robot
        carries = carrying_motors(robot)
        wanted = {"arm": robot.used & ~carries, "leg": robot.used & carries, "any": robot.used}[among]
        motors = np.flatnonzero(wanted if wanted.any() else robot.used)
        motor = int(rng.choice(motors))
        own = dict(options)
        if name == "torque":
            own["nm"] = 1.5 * float(robot.column("effort_n_m")[motor])
        elif name == "overspeed":
            own["rad_s"] = 2.0 * float(robot.column("velocity_rad_s")[motor])
        _ail(name, motor=motor, **own)(trial, rng)

    return begin


def _out_of_range(trial: Trial, rng: np.random.Generator) -> None:
    """One of the four joints of the arms that are nearest to their upper end reads 0.15 rad beyond it.

    A nearer one lies less: a policy that is told a joint is somewhere else altogether asks for impossible targets.
    """
    robot = trial.policy.manifest.robot
    upper = robot.column("upper_rad")
    left = np.where(robot.used & ~carrying_motors(robot), upper - trial.gate.state.q, np.inf)
    motor = int(rng.choice(np.argsort(left)[:4]))
    _ail("range", motor=motor, rad=float(upper[motor]) + 0.15)(trial, rng)


def _moving_arm(trial: Trial, rng: np.random.Generator) -> None:
    """The arm's motor that is told to turn fastest just now repeats itself."""
    robot = trial.policy.manifest.robot
    speed = np.abs(trial.gate.state.dq) * (robot.used & ~carrying_motors(robot))
    motor = int(np.argmax(speed))
    trial.frozen = motor, float(trial.commanded_q[motor])
    _ail("motor-frozen", motor=motor)(trial, rng)


def _should_have_moved(trial: Trial) -> bool:
    """The target of the motor that repeats itself has moved: before, a motor that stands still says the same."""
    motor, target = trial.frozen
    is_seen = bool(trial.gate.flags & BIT["MOTOR_SILENT"])  # which keeps the target where it is from then on
    return is_seen or abs(float(trial.commanded_q[motor]) - target) > 2 * MOVED_RAD


def _is_out_of_range(trial: Trial) -> bool:
    robot, q = trial.policy.manifest.robot, trial.ailments.sample.q
    slack = robot.limits.range_slack_rad
    return bool(((q > robot.column("upper_rad") + slack) & robot.used).any())


def _is_below(limit: str) -> Onset:
    """The charge has fallen to a limit."""
    return lambda trial: trial.ailments.charge_percent <= getattr(trial.policy.manifest.robot.limits, limit)


def _is_older(trial: Trial) -> bool:
    """A state has arrived that is older than the newest."""
    return int(trial.ailments.sample.tick[0]) < int(trial.gate.state.tick_view[0])


def _is_harmed(trial: Trial) -> bool:
    """The policy has made a target since `target_after` was set."""
    return trial.targets_changed > 0


def _is_tilted(trial: Trial) -> bool:
    _, x, y, _ = trial.robot.base_orientation.tolist()
    return bool(1 - 2 * (x * x + y * y) < np.cos(trial.policy.manifest.robot.limits.tilt_rad))


def _policy_ends(trial: Trial, rng: np.random.Generator) -> None:
    """Killed: its last target stays in the slot for ever."""
    trial.policy_tick_instead = lambda trial: None


def _policy_stops(trial: Trial, rng: np.random.Generator) -> None:
    """Stopped, and later continued."""
    until_ns = trial.now_ns + 150_000_000

    def instead(trial: Trial) -> None:
        if trial.now_ns > until_ns:
            trial.policy_tick_instead = None
            trial.policy_tick()

    trial.policy_tick_instead = instead


def _policy_raises(trial: Trial, rng: np.random.Generator) -> None:
    """An exception in its tick, as a lost accelerator makes one; its process then says so in its last target."""

    def instead(trial: Trial) -> None:
        trial.policy.target["flags"] |= np.uint64(BIT["POLICY_FAULT"])

    trial.policy_tick_instead = instead


def _target(change: Callable[[np.ndarray, Trial], None]) -> Begin:
    def begin(trial: Trial, rng: np.random.Generator) -> None:
        trial.target_after = lambda trial: change(trial.policy.target["block"][0], trial)

    return begin


def _target_of_an_arm(trial: Trial, rng: np.random.Generator, beyond_rad: float, ticks: int) -> None:
    """The target of one arm's motor is put beyond its range, for so many policy ticks."""
    robot = trial.policy.manifest.robot
    motors = np.flatnonzero(robot.used & ~carrying_motors(robot))
    motor = int(rng.choice(motors if motors.size else np.flatnonzero(robot.used)))
    left = [ticks]

    def after(trial: Trial) -> None:
        if left[0] > 0:
            left[0] -= 1
            trial.policy.target["block"][0][motor, Q] = robot.column("upper_rad")[motor] + beyond_rad

    trial.target_after = after


def _not_finite(block: np.ndarray, trial: Trial) -> None:
    block[trial.ticks % len(block), trial.ticks % 5] = (np.nan, np.inf, -np.inf)[trial.ticks % 3]


def _slow(takes_s: float, count: int) -> Begin:
    """So many ticks of the policy take that long."""

    def begin(trial: Trial, rng: np.random.Generator) -> None:
        left = [count]

        def instead(trial: Trial) -> None:
            if left[0] == 0:
                trial.policy_tick_instead = None
                trial.policy_tick()
                return
            left[0] -= 1
            trial.targets_changed += 1
            made_ns = trial.now_ns
            trial.at(takes_s, lambda trial: trial.finish_late(made_ns))

        trial.policy_tick_instead = instead

    return begin


def _pauses(count: int, ticks: int = 4, every: int = 60) -> Begin:
    """The gate sleeps `count` times for `ticks` periods."""

    def begin(trial: Trial, rng: np.random.Generator) -> None:
        trial.pauses.extend((trial.ticks + i * every, ticks) for i in range(count))
        trial.pauses_done = 0

    return begin


def _has_paused(count: int) -> Onset:
    return lambda trial: trial.pauses_done >= count


def _gate_dies(trial: Trial, rng: np.random.Generator) -> None:
    """A gate that replaces a dead one: as `GateProcess` begins with `damping`."""
    trial.gate.machine = Machine(Mode.DAMP, PLACE["GATE_RESTARTED"], trial.now_ns)
    trial.policy.target["flags"] |= np.uint64(BIT["GATE_RESTARTED"])


def _gate_raises(trial: Trial, rng: np.random.Generator) -> None:
    """What the gate's process does with an exception of its tick."""
    trial.gate.machine = Machine(Mode.DAMP, PLACE["INTERNAL_ERROR"], trial.now_ns)
    trial.policy.target["flags"] |= np.uint64(BIT["INTERNAL_ERROR"])


def _stop_signal(trial: Trial, rng: np.random.Generator) -> None:
    trial.is_stopped = True


def _operator(change: Callable[[Trial], None]) -> Begin:
    """An operator engages; `LEAD_S` later something happens to it."""

    def begin(trial: Trial, rng: np.random.Generator) -> None:
        trial.operator.engage()
        trial.at(LEAD_S, change)

    return begin


LEAD_S = 0.3
FIRST_S = 1 / GATE_HZ
"""What repeats itself is healthy the first time."""


def _let_go(trial: Trial) -> None:
    trial.operator.record["held"] = 0


def _link_lost(trial: Trial) -> None:
    trial.operator.hears = False


def _link_late(trial: Trial) -> None:
    """Silent long enough to be late, not long enough to be lost."""
    trial.operator.hears = False
    trial.at(0.35, _link_back)


def _link_back(trial: Trial) -> None:
    trial.operator.hears = True


def _press(trial: Trial) -> None:
    trial.operator.record["stop"] = 1


def _source_silent(trial: Trial) -> None:
    trial.operator.record["silent"] = 2


def _process_dies(trial: Trial) -> None:
    trial.operator.beats = False


def _count(field: str) -> Callable[[Trial], None]:
    def change(trial: Trial) -> None:
        trial.operator.record[field] += 3

    return change


def _far(beyond_rad: float, ticks: int) -> Begin:
    return lambda trial, rng: _target_of_an_arm(trial, rng, beyond_rad, ticks)


def _shipped(row: int, flag: str, name: str, onset: Onset | None = None, lead_s: float = 0.0,
             **options: float) -> Injection:
    """An ailment of the wire or the robot, in its own words."""
    given = ", ".join(f"{key} {value:g}" for key, value in options.items())
    how = f"{AILMENTS[name][1]}{f' ({given})' if given else ''}"
    return Injection(row, flag, how, _ail(name, **options), onset, lead_s)


def _of_motor(row: int, flag: str, name: str, among: str, **options: float) -> Injection:
    which = {"arm": "of an arm", "leg": "that carries", "any": "of the seed's choice"}[among]
    return Injection(row, flag, f"{AILMENTS[name][1]}: a motor {which}", _ail_motor(name, among, **options))


def _of_operator(row: int, flag: str, how: str, change: Callable[[Trial], None]) -> Injection:
    return Injection(row, flag, how, _operator(change), lead_s=LEAD_S)


INJECTIONS: tuple[Injection, ...] = (
    _shipped(1, "STATE_LATE", "silence", lasts=0.024),
    _shipped(1, "STATE_STALE", "silence", lasts=0.07),
    _shipped(1, "STATE_LOST", "silence"),
    _shipped(2, "STATE_LOSSY", "loss", p=0.15, lasts=2.0),
    _shipped(3, "STATE_REORDERED", "reorder", _is_older, lasts=0.1),
    _shipped(4, "STATE_FROZEN", "counter", lead_s=FIRST_S, lasts=0.03),
    _shipped(4, "STATE_FROZEN", "duplicate", lead_s=FIRST_S, lasts=0.03),
    _shipped(4, "STATE_LOST", "duplicate", lead_s=FIRST_S),
    _shipped(5, "STATE_CRC", "crc", lasts=0.004),
    _shipped(5, "STATE_LOST", "crc"),
    _shipped(6, "STATE_NON_FINITE", "joint-nan"),
    _shipped(7, "IMU_NON_FINITE", "imu-nan"),
    _shipped(7, "IMU_NON_FINITE", "quat-zero"),
    _shipped(8, "IMU_INCONSISTENT", "quat-xyzw"),
    _shipped(8, "IMU_INCONSISTENT", "gyro-bias"),
    _shipped(9, "TORSO_IMU", "torso", rad=0.2, lasts=0.3),
    _shipped(9, "TORSO_IMU_FAR", "torso", rad=0.6),
    _shipped(10, "IMU_FROZEN", "imu-frozen", lead_s=FIRST_S),
    _shipped(11, "GYRO_SATURATED", "gyro-spike", n=5),
    _of_motor(12, "MOTOR_ERROR", "motor-error", "arm"),
    _of_motor(12, "LEG_MOTOR_ERROR", "motor-error", "leg"),
    _of_motor(13, "MOTOR_SILENT", "motor-lost", "any"),
    Injection(13, "MOTOR_SILENT", "a motor of an arm repeats itself to the bit while its target moves", _moving_arm,
              onset=_should_have_moved),
    _of_motor(14, "TEMPERATURE_WARN", "heat", "any", c=86),
    _of_motor(14, "TEMPERATURE_HIGH", "heat", "any", c=98),
    _of_motor(14, "TEMPERATURE_CRITICAL", "heat", "any", c=122),
    _of_motor(15, "TORQUE_HIGH", "torque", "any", lasts=0.1),
    _of_motor(15, "TORQUE_SUSTAINED", "torque", "arm", lasts=1.0),
    _of_motor(16, "ENCODER_JUMP", "encoder", "any"),
    _of_motor(17, "OVERSPEED", "overspeed", "any"),
    _shipped(17, "FLAIL", "flail"),
    Injection(18, "JOINT_RANGE", "an arm's joint drifts out of its range",
              _out_of_range, onset=_is_out_of_range),
    Injection(19, "TILT", "pushed over: 600 N for 0.3 s", _ail("push"), onset=_is_tilted),
    *STREAM_INJECTIONS,
    Injection(31, "POLICY_SLOW", "two policy ticks of 17 ms", _slow(0.017, 2), onset=_is_harmed),
    _of_operator(24, "STREAM_FLOOD", "messages dropped", _count("dropped")),
    _of_operator(25, "STREAM_MALFORMED", "malformed messages", _count("malformed")),
    Injection(29, "TARGET_NON_FINITE", "NaN or infinity in every target", _target(_not_finite)),
    Injection(30, "TARGET_LIMITED", "three targets 0.3 rad beyond an arm's range", _far(0.3, 3), onset=_is_harmed),
    Injection(30, "TARGET_FAR", "targets 2 rad beyond an arm's range", _far(2.0, 1 << 30), onset=_is_harmed),
    Injection(32, "POLICY_FAULT", "the policy raises", _policy_raises),
    Injection(36, "GATE_OVERRUN", "four pauses of 8 ms within a second", _pauses(4), onset=_has_paused(4)),
    Injection(37, "GATE_PAUSE", "one pause of 8 ms", _pauses(1), onset=_has_paused(1)),
    Injection(38, "TARGET_STALE", "the policy is killed", _policy_ends),
    Injection(39, "TARGET_STALE", "the policy is stopped, and continued 150 ms later", _policy_stops),
    Injection(40, "GATE_RESTARTED", "a gate begins damping, as one that replaces a dead one", _gate_dies, by_flag=True),
    Injection(41, "TARGET_STALE", "the policy is killed for memory", _policy_ends),
    Injection(44, "GATE_OVERRUN", "four pauses of 30 ms, as of a gate that waits for a disk",
              _pauses(4, 15), onset=_has_paused(4)),
    Injection(0, "INTERNAL_ERROR", "the gate's tick raises", _gate_raises, by_flag=True),
    _shipped(47, "ROBOT_RESTARTED", "restart"),
    _shipped(48, "SECOND_WRITER", "second-writer"),
    _shipped(51, "LINK_DOWN", "link-down"),
    _of_operator(52, "OPERATOR_LATE", "the Wi-Fi is gone for 350 ms", _link_late),
    _shipped(53, "BATTERY_LOW", "battery", _is_below("battery_warn"), percent=17),
    _shipped(53, "BATTERY_NO_MOTION", "battery", _is_below("battery_no_motion"), percent=12),
    _shipped(53, "BATTERY_CRITICAL", "battery", _is_below("battery_critical"), percent=5),
    _of_operator(54, "OPERATOR_LATE", "the operator's messages cease for 350 ms", _link_late),
    _of_operator(54, "OPERATOR_LOST", "the operator's messages cease", _link_lost),
    _of_operator(54, "DEADMAN_RELEASED", "the dead-man is released", _let_go),
    _shipped(55, "REMOTE_STOP", "press"),
    _of_operator(55, "ESTOP", "an emergency stop is pressed", _press),
    _of_operator(56, "ESTOP_SILENT", "the operator's process dies", _process_dies),
    _of_operator(56, "ESTOP_SILENT", "a source falls silent", _source_silent),
    Injection(0, "OPERATOR_STOP", "a stop signal", _stop_signal),
    _shipped(57, "REMOTE_OFF", "remote-off"),
    _shipped(59, "MODE_MACHINE", "variant"),
    _of_operator(62, "UNAUTHORISED", "messages without the right key or lease", _count("unauthorised")),
    _of_operator(63, "REPLAYED", "replayed messages", _count("replayed")),
)
"""Everything a running gate can be told of; what refuses to start is in `refusals.py` and `wire_refusals.py`."""
