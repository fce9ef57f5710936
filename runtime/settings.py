"""What one run was asked to do: made by the command line, handed to every process as a JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from runtime.errors import Refused

GATE_HZ = 500
SERIAL = "serial"
"""Target of a run whose robot's motors hang on serial ports."""
REAL = ("g1", SERIAL)


@dataclass(frozen=True)
class RunSettings:
    """One run.

    Attributes:
        controller: name, manifest file or bundle folder.
        robot: name or file of the robot the controller is for.
        model, clip: files, or None.
        command: vx, vy (m/s), yaw rate (rad/s), for velocity controllers.
        duration_s: how long to play; None plays the whole clip.
        target: sim (own simulated robot), dds (somebody else's), g1 (the real one), unitree-mujoco, serial.
        wiring: of target serial, name or file (`firmware_bridge/wiring.py`).
        domain, interface, peers: DDS; interface None is loopback.
        rate_hz: of the policy.
        dry_run: everything but write.
        real_time: ask for SCHED_FIFO and locked memory.
        run, shared: id and folder of the run's shared memory.
        mode_machine: variant to name in commands when a gate starts without a state (restart), else -1.
        joints, observation, estimate: sizes the policy reported, 0 before.
        damping: the gate starts in DAMP: it replaces one that died.
        allow_unsigned: let a controller run that no trusted key has signed.
        trust: where the controller comes from, for the log.
        estimator: classical, or a learned one's name or folder; None leaves the choice to the manifest.
        keep_place: whether a tracker that follows velocities is kept at its reference's place; None leaves the choice
            to the manifest.
        mode: of a controller with modes; None is its first.
        teleop: keyboard, gamepad or network: who may take over; None nobody.
        estops: emergency-stop sources besides the wireless remote, as typed.
        teleop_controller: name, manifest or bundle of the velocity controller an operator steers, NO_CONTROLLER for
            none; None takes the usual one where there is one, and the run's own where that takes commands.
        teleop_model: its model, where it brings none.
        operator_bind, operator_key: where operators' messages arrive, HOST:PORT, and the file of their key.
        calibration, serial: a calibration file, and the serial number of the robot it has to be for.
        terminal: path of the run's terminal, where its keys are a source.
        stream: where the run's own motion is streamed from, tcp://HOST:PORT, or None; `stream_topic` of its poses,
            `stream_key` the file of the publisher's public key.
        follow: `clip` is a chain whose file may grow while it is played; `follow_timeout_s`: how long it is waited for
            more, None for ever.
        stream_out: where SONIC's output topics are published, tcp://HOST:PORT, or None; `stream_out_key` the file of
            the publisher's secret key.
        hands: file of the hands, None for a run without; `hands_on_damp`: what they do then. hands_required: somebody
            wants a run refused that has nothing to move them with; the gate's is set only where the motion moves them.
        hand_ports: of hands on serial ports, left and right; an empty one is a missing hand.
        log: file of the log in `out`.
        routine: file that says what routine of calibration stands in the policy's place; None for a controller.
        deadman: what has to be held while a routine moves (`runtime.deadman`); None for nothing.
    """

    controller: str
    robot: str
    model: str | None
    clip: str | None
    command: tuple[float, float, float]
    duration_s: float | None
    target: str
    domain: int
    interface: str | None
    peers: tuple[str, ...]
    out: str
    rate_hz: float = 50.0
    backend: str = "cpu"
    dry_run: bool = False
    real_time: bool = True
    run: int = 0
    shared: str = ""
    mode_machine: int = -1
    joints: int = 0
    observation: int = 0
    damping: bool = False
    allow_unsigned: bool = False
    trust: str = ""
    mode: str | None = None
    estimator: str | None = None
    estimate: int = 0
    keep_place: bool | None = None
    calibration: str | None = None
    serial: str | None = None
    teleop: str | None = None
    teleop_controller: str | None = None
    teleop_model: str | None = None
    estops: tuple[str, ...] = ()
    operator_bind: str = "127.0.0.1:5570"
    operator_key: str | None = None
    terminal: str | None = None
    stream: str | None = None
    stream_topic: str = "pose"
    stream_key: str | None = None
    follow: bool = False
    follow_timeout_s: float | None = None
    stream_out: str | None = None
    stream_out_key: str | None = None
    wiring: str | None = None
    hands: str | None = None
    hands_required: bool = False
    hands_on_damp: str | None = None
    hand_ports: tuple[str, str] | None = None
    log: str = "log.mcap"
    routine: str | None = None
    deadman: str | None = None

    @property
    def moves_a_robot(self) -> bool:
        """Whether a real robot may move: nothing is armed without a person's word."""
        return self.target in REAL and not self.dry_run

    @property
    def is_streamed(self) -> bool:
        """Whether the run's own motion comes frame by frame from a process of its own."""
        return self.stream is not None or self.follow

    @property
    def has_operator(self) -> bool:
        """Whether the run has an operator's process: somebody may command, stop or hold from outside the robot."""
        is_held = self.deadman is not None and not self.deadman.startswith("remote")
        return self.teleop is not None or bool(self.estops) or is_held

    @property
    def operator(self) -> tuple[str, ...]:
        """The operator's sources that can stop the run, in the order of the bits of `stop` and `silent`.

        The source of commands brings a stop of its own, "teleop", which stands last.
        """
        return (*self.estops, *(["teleop"] if self.teleop is not None else []))

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> RunSettings:
        """Read what `save` wrote.

        Raises:
            Refused: anything else.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_bytes().decode("utf-8"))
            odd = set(data) ^ {field.name for field in fields(RunSettings)}
            if not odd:
                for name in ("command", "peers", "estops", "hand_ports"):
                    data[name] = None if data[name] is None else tuple(data[name])
                return RunSettings(**data)
            found = f"unknown or missing: {', '.join(sorted(odd))}"
        except (ValueError, TypeError, RecursionError) as error:
            found = f"{type(error).__name__}: {str(error)[:200]}"
        raise Refused("run settings", expected="the keys of this version", found=found,
                      what_to_do="start the run again with one version of the runtime")
