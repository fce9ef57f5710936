"""What can be wrong with a simulated robot and its wire: named faults, seeded, that begin at a simulated time.

Physics does what physics can (a fall is a push); everything else happens to the states on their way from the robot to
whoever listens, so that `SimulatedRobot` stays a healthy robot. Lock-step takes what `Ailments.carry` returns as its
reading; `exoactor sim --ailment NAME@T[,key=value]` puts the same on the wire, a wrong CRC included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from firmware_bridge.ailment_kit import Illness, copy_sample
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.unitree_bus import BATTERY_READS, TORSO_READS

HEALTHY_PERCENT = 80.0
"""Charge of a robot that nothing ails."""
BATTERY_PUBLISHED = 250
"""States between two messages of the battery, as `exoactor sim` sends them."""
REMOTE_HEAD = (0x55, 0x51)
"""First bytes of a wireless remote that is on."""


def _silence(illness: Illness) -> None:
    illness.reading = Reading.NONE


def _loss(illness: Illness) -> None:
    if illness.random.random() < illness.option("p", 0.2):
        illness.reading = Reading.NONE


def _reorder(illness: Illness) -> None:
    """The first of ten states is overtaken by its successor."""
    place = illness.count % 10
    if place == 0:
        illness.keep()
        illness.reading = Reading.NONE
    elif place == 2:
        illness.give_kept()


def _duplicate(illness: Illness) -> None:
    """One state arrives again and again."""
    if illness.count:
        illness.give_kept()
    else:
        illness.keep()


def _counter(illness: Illness) -> None:
    """The counter stands still while the content goes on."""
    illness.sample.tick[0] = illness.start_tick


def _restart(illness: Illness) -> None:
    illness.sample.tick[0] -= illness.start_tick


def _crc(illness: Illness) -> None:
    illness.reading = Reading.REJECTED


def _jitter(illness: Illness) -> None:
    """Each state takes up to `s` longer than usual; they keep their order, and the newest that has arrived is read."""
    sample, now, queue = illness.sample, illness.elapsed_s, illness.queue
    if illness.reading is not Reading.NONE:
        due_s = now + illness.random.random() * illness.option("s", 0.005)
        queue.append((max(due_s, queue[-1][0]) if queue else due_s, copy_sample(sample)))
    illness.reading = Reading.NONE
    while queue and queue[0][0] <= now + 1e-9:
        illness.give(queue.popleft()[1])


_NOT_FINITE = (np.nan, np.inf, -np.inf)


def _joint_nan(illness: Illness) -> None:
    sample, choice = illness.sample, illness.choice
    values = (sample.q, sample.dq, sample.tau)[choice % 3]
    values[illness.motor] = _NOT_FINITE[choice // 3 % 3]


def _imu_nan(illness: Illness) -> None:
    illness.sample.imu[illness.choice % 10] = _NOT_FINITE[illness.choice // 10 % 3]


def _quat_zero(illness: Illness) -> None:
    illness.sample.quat_wxyz[:] = 0


def _quat_xyzw(illness: Illness) -> None:
    """The IMU's quaternion arrives x, y, z, w."""
    illness.sample.quat_wxyz[:] = illness.sample.quat_wxyz[[1, 2, 3, 0]].copy()


def _gyro_bias(illness: Illness) -> None:
    """One axis of the gyro is off by so much that orientation and rates cannot both be right."""
    illness.sample.gyro[illness.choice % 3] += illness.option("rad_s", 2.0)


def _gyro_spike(illness: Illness) -> None:
    """A saturated gyro, for `n` states."""
    if illness.count < illness.option("n", 1):
        illness.sample.gyro[illness.choice % 3] = illness.option("rad_s", 40.0) * (1 if illness.choice // 3 % 2 else -1)


def _torso(illness: Illness) -> None:
    """The torso's IMU sits askew by `rad` about its x axis."""
    half = illness.option("rad", 0.4) / 2
    w, x, y, z = illness.sample.torso_quat_wxyz.tolist()
    c, s = np.cos(half), np.sin(half)
    illness.sample.torso_quat_wxyz[:] = (c * w - s * x, c * x + s * w, c * y + s * z, c * z - s * y)


def _imu_frozen(illness: Illness) -> None:
    if illness.count == 0:
        illness.keep()
    illness.sample.imu[:] = illness.kept.imu


def _motor_error(illness: Illness) -> None:
    illness.sample.motor_error[illness.motor] = 1 << illness.choice % 8


def _motor_lost(illness: Illness) -> None:
    """The drives count lost words of a motor, more with every state."""
    illness.sample.motor_lost[illness.motor] += np.uint32(illness.count + 1)


def _motor_frozen(illness: Illness) -> None:
    """A motor repeats itself to the bit."""
    if illness.count == 0:
        illness.keep()
    for name in ("q", "dq", "tau"):
        getattr(illness.sample, name)[illness.motor] = getattr(illness.kept, name)[illness.motor]


def _heat(illness: Illness) -> None:
    illness.sample.temperature_c[illness.motor] = illness.option("c", 95)


def _torque(illness: Illness) -> None:
    illness.sample.tau[illness.motor] = illness.option("nm", 200.0) * (1 if illness.choice % 2 else -1)


def _encoder(illness: Illness) -> None:
    illness.sample.q[illness.motor] += illness.option("rad", 1.0) * (1 if illness.choice % 2 else -1)


def _overspeed(illness: Illness) -> None:
    illness.sample.dq[illness.motor] = illness.option("rad_s", 80.0) * (1 if illness.choice % 2 else -1)


def _flail(illness: Illness) -> None:
    count = int(illness.option("n", 8))
    illness.sample.dq[:count] = illness.option("rad_s", 12.0) * np.where(np.arange(count) % 2, 1, -1)


def _range(illness: Illness) -> None:
    """A joint drifts to `rad` within 0.3 s, no faster than it could turn."""
    q, share = illness.sample.q, min(1.0, illness.elapsed_s / 0.3)
    q[illness.motor] += share * (illness.option("rad", 3.0) - q[illness.motor])


def _battery(illness: Illness) -> None:
    """The charge falls by `rate` percent a second, down to `percent`."""
    charge = illness.sample.battery_percent
    charge[0] = max(float(charge[0]) - illness.elapsed_s * illness.option("rate", 4.0), illness.option("percent", 5.0))


def _remote_off(illness: Illness) -> None:
    illness.sample.remote[:] = 0


def _press(illness: Illness) -> None:
    """Buttons of the remote, as bits (L2+B unless given)."""
    mask = int(illness.option("buttons", 0x220))
    illness.sample.remote[2], illness.sample.remote[3] = mask & 0xFF, mask >> 8


def _variant(illness: Illness) -> None:
    illness.sample.mode_machine[0] = illness.option("mode", 9)


def _push(illness: Illness) -> None:
    """A force on the torso, `n` newtons for `s` seconds in a direction of the seed's choice: enough to make it fall."""
    angle = 2 * np.pi * (illness.choice % 64) / 64
    is_on = illness.elapsed_s < illness.option("s", 0.3)
    illness.robot.push(is_on * illness.option("n", 600.0) * np.array([np.cos(angle), np.sin(angle), 0.0]))


def _nothing(illness: Illness) -> None:
    """Happens beside the states: whoever owns the wire looks at `Ailments.has`."""


AILMENTS: dict[str, tuple[Callable[[Illness], None], str]] = {
    "silence": (_silence, "no states"),
    "loss": (_loss, "a share `p` of the states is lost"),
    "reorder": (_reorder, "every tenth state arrives after its successor"),
    "duplicate": (_duplicate, "one state arrives again and again"),
    "counter": (_counter, "the robot's counter stands still"),
    "restart": (_restart, "the robot's counter begins anew"),
    "crc": (_crc, "states with a wrong CRC"),
    "jitter": (_jitter, "states arrive up to `s` later, in order"),
    "joint-nan": (_joint_nan, "NaN or infinity in a joint's state"),
    "imu-nan": (_imu_nan, "NaN or infinity in the IMU"),
    "quat-zero": (_quat_zero, "an orientation of zeros"),
    "quat-xyzw": (_quat_xyzw, "an orientation in the order x, y, z, w"),
    "gyro-bias": (_gyro_bias, "a turn rate that is off by `rad_s`"),
    "gyro-spike": (_gyro_spike, "`n` states with a saturated turn rate"),
    "torso": (_torso, "the torso's IMU askew by `rad`"),
    "imu-frozen": (_imu_frozen, "the IMU repeats itself to the bit"),
    "motor-error": (_motor_error, "a motor reports an error"),
    "motor-lost": (_motor_lost, "words lost on the way to a motor"),
    "motor-frozen": (_motor_frozen, "a motor repeats itself to the bit"),
    "heat": (_heat, "a motor of `c` degrees"),
    "torque": (_torque, "a measured torque of `nm`"),
    "encoder": (_encoder, "a joint's position off by `rad`, at once"),
    "overspeed": (_overspeed, "a joint's speed of `rad_s`"),
    "flail": (_flail, "`n` joints at `rad_s`"),
    "range": (_range, "a joint drifts to `rad`"),
    "battery": (_battery, "a charge that falls by `rate` a second to `percent`"),
    "remote-off": (_remote_off, "the remote sends zeros"),
    "press": (_press, "`buttons` of the remote are pressed"),
    "variant": (_variant, "the robot says it is variant `mode`"),
    "push": (_push, "`n` newtons on the torso for `s` seconds"),
    "second-writer": (_nothing, "somebody else commands the motors"),
    "link-down": (_nothing, "no carrier (lock-step only)"),
}


@dataclass(frozen=True)
class Ailment:
    """One fault to come.

    Attributes:
        name: a key of `AILMENTS`.
        at_s: simulated time it begins at.
        options: `lasts` (s; default for ever), `motor` (index; default the seed's choice), its own.
    """

    name: str
    at_s: float
    options: dict[str, float] = field(default_factory=dict)


def parse_ailment(text: str) -> Ailment:
    """`NAME@T[,key=value...]` as on the command line.

    Raises:
        BridgeError: an unknown name, or numbers that are none.
    """
    first, *rest = text.split(",")
    name, _, at = first.partition("@")
    try:
        options = (one.partition("=") for one in rest)
        ailment = Ailment(name, float(at), {key: float(value) for key, _, value in options})
    except ValueError:
        ailment = Ailment("", 0.0)
    if ailment.name not in AILMENTS or not np.isfinite([ailment.at_s, *ailment.options.values()]).all():
        raise BridgeError("--ailment", expected=f"NAME@T[,key=value] with a name among {', '.join(AILMENTS)}",
                          found=text, what_to_do="give e.g. --ailment motor-error@8,motor=3")
    return ailment


class Ailments:
    """Between a simulated robot and whoever listens to it.

    Args:
        robot: whose states are carried; healthy values that physics does not know are set in its sample.
        given: what will ail it.
        seed: of motors, signs and losses that nobody named.
        holds: let torso and battery arrive as rarely as over the wire, which a wire does by itself.

    Attributes:
        sample: what arrives.
        charge_percent: of the battery, as it is now.
    """

    def __init__(
        self, robot: SimulatedRobot, given: Sequence[Ailment] = (), seed: int = 0, *, holds: bool = False
    ) -> None:
        self._robot, self._seed = robot, seed
        robot.sample.battery_percent[0] = HEALTHY_PERCENT
        robot.sample.remote[:2] = REMOTE_HEAD
        self.sample = copy_sample(robot.sample)
        self._holds, self._count = holds, 0
        self.charge_percent = self._published_percent = self._heard_percent = HEALTHY_PERCENT
        self._heard_torso = np.array([1, 0, 0, 0], np.float32)
        self._illnesses: list[tuple[Ailment, Illness]] = []
        for ailment in given:
            self.add(ailment)

    def add(self, ailment: Ailment) -> None:
        """One more."""
        rng = np.random.default_rng((self._seed, len(self._illnesses)))
        self._illnesses.append((ailment, Illness(self._robot, self.sample, ailment.options, rng)))

    def has(self, name: str) -> bool:
        """Whether this ailment is on now."""
        return any(ailment.name == name and self._is_on(ailment) for ailment, _ in self._illnesses)

    def _is_on(self, ailment: Ailment) -> bool:
        since_s = self._robot.time_s - ailment.at_s
        return -1e-9 <= since_s < ailment.options.get("lasts", np.inf) - 1e-9

    def carry(self, reading: Reading, sample: MotorSample) -> tuple[Reading, MotorSample]:
        """What arrives of a state: NONE, REJECTED, or NEW with a copy that may be harmed."""
        copy_sample(sample, self.sample)
        self.sample.torso_quat_wxyz[:] = self._robot.torso_imu()[0]
        self.sample.battery_percent[0] = self._robot.sample.battery_percent[0]
        for ailment, illness in self._illnesses:
            if self._is_on(ailment):
                reading = illness.harm(AILMENTS[ailment.name][0], reading, self._robot.time_s - ailment.at_s)
        self._count += 1
        self.charge_percent = float(self.sample.battery_percent[0])
        if self._holds:
            self._hold_slow_topics()
        return reading, self.sample

    def _hold_slow_topics(self) -> None:
        """Torso and battery arrive on topics of their own, rarely: what was heard last stands in the sample."""
        sample = self.sample
        if self._count % BATTERY_PUBLISHED == 1:
            self._published_percent = self.charge_percent
        if self._count % BATTERY_READS == 1:
            self._heard_percent = self._published_percent
        if self._count % TORSO_READS == 1:
            self._heard_torso[:] = sample.torso_quat_wxyz
        sample.battery_percent[0], sample.torso_quat_wxyz[:] = self._heard_percent, self._heard_torso
