"""Faults of a streamed reference: the run's own clip is streamed and followed, then something happens to the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.campaign.injection import Begin, Injection, Onset
from runtime.campaign.trial import STREAM_S, Trial
from runtime.motor_checks import carrying_motors

FOLLOWED_S = 0.75
"""From the first frame to the fault: the stream has been followed for half a second."""
SLOW_RAD = 0.03
"""A joint that leaves its range by this much a frame does not jump."""
BEYOND_RAD = 0.3
Change = Callable[[Any, Trial, int], bool]


def _stream(then: Callable[[Trial, np.random.Generator], None]) -> Begin:
    """Stream, engage, and later do something to it."""

    def begin(trial: Trial, rng: np.random.Generator) -> None:
        trial.stream_on()
        trial.at(FOLLOWED_S, lambda trial: then(trial, rng))

    return begin


def _silence(lasts_s: float | None) -> Callable[[Trial, np.random.Generator], None]:
    def then(trial: Trial, rng: np.random.Generator) -> None:
        _set_sending(trial, False)
        if lasts_s is not None:
            trial.at(lasts_s, lambda trial: _set_sending(trial, True))

    return then


def _set_sending(trial: Trial, is_sending: bool) -> None:
    assert trial.operator.stream is not None
    trial.operator.stream.is_sending = is_sending


def _change(what: Change, frames: int) -> Callable[[Trial, np.random.Generator], None]:
    """So many frames are changed, each joint's of the seed's choice."""

    def then(trial: Trial, rng: np.random.Generator) -> None:
        stream, robot = trial.operator.stream, trial.policy.manifest.robot
        assert stream is not None
        arms = [i for i, joint in enumerate(robot.joints) if not carrying_motors(robot)[joint.motor]]
        joint = int(rng.choice(arms or range(len(robot.joints))))

        def change(record: Any) -> bool:
            return stream.harmed > frames or what(record, trial, joint)

        stream.change = change

    return then


def _jump(record: Any, trial: Trial, joint: int) -> bool:
    record["joint_pos"][joint] += 1.0
    return True


def _nan(record: Any, trial: Trial, joint: int) -> bool:
    record["joint_pos"][joint] = np.nan
    return True


def _other_form(record: Any, trial: Trial, joint: int) -> bool:
    record["form"] = 1
    return True


def _beyond(record: Any, trial: Trial, joint: int) -> bool:
    """Out of the joint's range, little by little."""
    assert trial.operator.stream is not None
    upper = trial.policy.manifest.robot.joints[joint].upper_rad
    q, count = float(record["joint_pos"][joint]), trial.operator.stream.harmed
    record["joint_pos"][joint] = min(q + SLOW_RAD * count, upper + BEYOND_RAD)
    return True


def _has_harmed(trial: Trial) -> bool:
    stream = trial.operator.stream
    return stream is not None and stream.harmed > 0


def _has_limited(trial: Trial) -> bool:
    return trial.policy.stream is not None and trial.policy.stream.buffer.limited > 0


def _injection(row: int, flag: str, how: str, then: Callable[[Trial, np.random.Generator], None],
               onset: Onset | None = None) -> Injection:
    return Injection(row, flag, how, _stream(then), onset, lead_s=FOLLOWED_S)


STREAM_INJECTIONS: tuple[Injection, ...] = (
    _injection(20, "REFERENCE_LATE", "a followed stream is silent for 200 ms", _silence(0.2)),
    _injection(20, "REFERENCE_LOST", "a followed stream ends", _silence(None)),
    _injection(21, "REFERENCE_JUMP", "one frame in which a joint jumps by 1 rad", _change(_jump, 1), _has_harmed),
    _injection(22, "REFERENCE_NON_FINITE", "NaN in five frames", _change(_nan, 5), _has_harmed),
    _injection(23, "REFERENCE_LIMITED", "a joint of the stream leaves its range", _change(_beyond, 1 << 30),
               _has_limited),
    _injection(28, "STREAM_VERSION", "five frames of another form", _change(_other_form, 5), _has_harmed),
)
assert STREAM_S < FOLLOWED_S
