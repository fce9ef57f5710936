"""What holds of every step of the fault machine, whatever the flags and whoever asks."""

from __future__ import annotations

from runtime.fault_table import FLAGS
from runtime.faults import Machine, Mode, Request


def check_step(before: Machine, flags: int, request: Request, after: Machine) -> None:
    """AssertionError when a step rises by itself, softens a reaction, leaves DAMP, or arms on a fault."""
    up = [place for place in range(len(FLAGS)) if flags >> place & 1]
    worst = max((FLAGS[place].reaction or Mode.DISARMED for place in up), default=Mode.DISARMED)
    if before.mode is Mode.DISARMED:
        assert after.mode in (Mode.DISARMED, Mode.READY, Mode.DAMP)
        if after.mode is Mode.READY:
            assert request is Request.ARM
            assert not any(FLAGS[place].forbids_arming for place in up)
        if after.mode is Mode.DAMP:
            assert request is Request.DAMP
        return
    if before.mode >= Mode.DAMP:
        assert after.mode is before.mode or (after.mode is Mode.ZERO and request is Request.ZERO)
        return
    assert after.mode in (Mode.READY, Mode.TRACK, Mode.HOLD, Mode.STAND, Mode.DAMP), "ZERO is reached from DAMP alone"
    assert after.mode >= worst, "no reaction is left out"
    if after.mode < before.mode:
        assert request is Request.TRACK
        assert worst is Mode.DISARMED
        assert after.mode is Mode.TRACK
    if after.mode > before.mode and request is Request.NONE:
        assert after.mode == worst
        assert flags >> after.cause & 1
        assert FLAGS[after.cause].reaction == worst
