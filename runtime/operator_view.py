"""The supervisor's view of the operator's process: who commands, which stops are up, and a fresh gesture."""

from __future__ import annotations

from pathlib import Path

from runtime.faults import Mode
from runtime.mux import Source
from runtime.operator_state import WARN_S
from runtime.records import OPERATOR_DTYPE, STREAM_RING, stream_dtype
from runtime.robot import Robot
from runtime.settings import SERIAL, RunSettings
from runtime.slots import Ring, Slot
from runtime.teleop_sources import GESTURES


def relays_gesture(mode: Mode, *, at_start_pose: bool, moves_a_robot: bool) -> bool:
    """Whether a gesture asks the gate to track, be it to engage or to hand back to the run's own motion.

    It does where the gate fell back to holding or standing, and where a real robot waits at its start pose; while the
    robot tracks already, the gesture is the policy's affair. What is tracked then always is: it reads the same record.
    """
    return mode in (Mode.HOLD, Mode.STAND) or (mode is Mode.READY and at_start_pose and moves_a_robot)


def confirmation_text(settings: RunSettings, robot: Robot) -> str:
    """What the operator of a real robot is asked before anything is armed."""
    if settings.target == SERIAL:
        where = f"on the serial ports of {settings.wiring}"
        stop = f"Stops: {', '.join(settings.estops) or 'none but Ctrl-C and your hardware stop'}."
    else:
        where = f"on interface {settings.interface}"
        stop = ("Damping combination on the remote: "
                f"{' or '.join('+'.join(keys) for keys in robot.estop_buttons)}.")
    return (f"About to move a real robot {where}. It must hang on its gantry, the area\n"
            f"must be clear and the hardware stop in a hand. {stop}\n"
            "Type MOVE and Enter to arm:")


def start_pose_text(settings: RunSettings) -> str:
    """What the operator of a real robot is told at the start pose; without Enter where the keys are a source."""
    if settings.teleop is not None:
        engage, resume = GESTURES[settings.teleop]
        ways = f"hold the dead-man and engage to steer it ({engage}) or resume to start its own motion ({resume})"
        ways += ", or press Enter for that" if settings.terminal is None else ""
    elif settings.terminal is not None:
        ways = f"press {' or '.join(GESTURES['keyboard'])} to track"
    else:
        ways = "press Enter to track"
    back = "Enter brings it back to standing and " if settings.terminal is None else ""
    return (f"\nStart pose reached. Lower the robot until it stands, then {ways}.\n"
            f"While it tracks, {back}Ctrl-C damps it.")


class OperatorView:
    """Makes the operator's slot and ring of a run, and reads the slot.

    Args:
        shared: folder of the run's shared memory.
        names: the sources that can stop, in the order of the record's bits (`RunSettings.operator`).
        joints: of the robot's table.
    """

    def __init__(self, shared: Path, run: int, names: tuple[str, ...], joints: int) -> None:
        self._names = names
        self._slot = Slot(shared / "operator", OPERATOR_DTYPE, run, create=True)
        Ring(shared / "stream_ring", stream_dtype(joints), run, STREAM_RING, create=True)
        self._engages = 0

    def gesture(self) -> bool:
        """Read the newest record; true when a gesture counted since the last call and is still meant.

        Who has let go again meanwhile commands nothing: the HOLD that came of it is not lifted by the gesture before.
        """
        self._slot.read()
        record = self._slot.record
        engages = int(record["engages"][0])
        is_fresh, self._engages = engages > self._engages, engages
        needs_hand = int(record["source"][0]) not in (Source.NONE, Source.CLIP)
        return is_fresh and (bool(record["held"][0]) or not needs_hand)

    def up(self) -> list[str]:
        """The stops that are pressed or silent, in words; all are silent before the process was heard."""
        self._slot.read()
        record = self._slot.record
        if not int(record["beat_ns"][0]):
            return [f"{name} silent" for name in self._names] or ["the operator's process silent"]
        words = {"stop": "pressed", "silent": "silent"}
        return [f"{name} {word}" for bit, name in enumerate(self._names) for field, word in words.items()
                if int(record[field][0]) >> bit & 1]

    def describe(self) -> str:
        """For the status line: source, dead-man, latency, stops that are up."""
        up, record = self.up(), self._slot.record
        source = Source(int(record["source"][0]))
        parts = []
        if source is Source.CLIP:
            parts.append("handed back")
        elif source is not Source.NONE:
            parts.append(f"{source.name.lower()} {'held' if record['held'][0] else 'released'}")
        latency_s = float(record["latency_s"][0])
        if source in (Source.NETWORK, Source.STREAM):
            parts.append(f"{latency_s * 1e3:.0f} ms{' SLOW' if latency_s > WARN_S else ''}")
        return " ".join([*parts, *up])
