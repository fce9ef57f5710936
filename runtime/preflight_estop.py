"""Self-test of every emergency stop: each source alive and released, each kind's press seen, the remote's all the way.

A person's button cannot be pressed by software. What can be: a stand-in for the device of each kind, read by the very
classes that will read the real one, and the remote of a simulated robot, through the network and the gate's own code.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import MotorSample
from firmware_bridge.remote import button_mask, buttons_in
from firmware_bridge.unitree_bus import UnitreeBus
from runtime.estop_sources import ButtonStop, GamepadStop, GpioStop, KeyboardStop, parse_estops
from runtime.faults import BIT, Request
from runtime.gamepad import EV_KEY, EVENT, STOP, Gamepad
from runtime.gate import Gate
from runtime.keyboard import STOP_KEYS, Keyboard
from runtime.network_stop import StopClient, StopEndpoint
from runtime.operator_message import TO_ROBOT, Challenge, Kind, Message, Reject, decode, encode
from runtime.operator_process import Sources
from runtime.preflight import Check, refused_line
from runtime.robot import Robot
from runtime.settings import GATE_HZ, SERIAL, RunSettings

SOURCES_S = 2.0
"""How long the sources may take to come alive; a person switches them on before the check."""
LOOK_S = 0.01
PRESS_S = 1.0
STOP_MS = 100
"""From asking the simulated robot's process to the gate's flag; the gate itself has 10 ms from the sample."""


def check_remote(sample: MotorSample, robot: Robot, *, strict: bool) -> Iterator[Check]:
    """The wireless remote: on, and its stop combination not held."""
    is_on = bool(sample.remote.any())
    yield Check("wireless remote", is_on, "on" if is_on else "off: its 40 bytes are zero", "on",
                "switch the remote on and see that it is paired", strict)
    pressed = buttons_in(int(sample.remote[2]), int(sample.remote[3]))
    held = any(pressed & button_mask(keys) == button_mask(keys) for keys in robot.estop_buttons)
    yield Check("stop combination released", not held, f"buttons {pressed:#06x}", "not pressed", "release the remote")


def press_simulated_remote(bus: UnitreeBus, robot: Robot, press: Callable[[], None]) -> Check:
    """Press a simulated robot's remote and wait for the gate's flag."""
    gate, block, bit = Gate(robot, 1 / GATE_HZ), np.zeros((robot.motors, 5), np.float32), BIT["REMOTE_STOP"]
    began = now = time.monotonic_ns()
    press()
    while not gate.flags & bit and now - began < PRESS_S * 1e9:
        bus.wait(LOOK_S)
        now = time.monotonic_ns()
        gate.tick(bus.read(), bus.sample, block, 0, 0, Request.NONE, 0, now)
    was_up = bool(gate.flags & bit)
    taken_ms = (now - began) / 1e6
    return Check("remote pressed", was_up and taken_ms <= STOP_MS,
                 f"REMOTE_STOP after {taken_ms:.0f} ms" if was_up else f"nothing within {PRESS_S:.0f} s",
                 f"REMOTE_STOP within {STOP_MS} ms", "the remote's bits do not reach the gate: do not run")


def check_sources(settings: RunSettings, robot: Robot) -> Iterator[Check]:
    """Every configured source: heard of, and not pressed."""
    if not settings.estops:
        has_remote = settings.target != SERIAL
        yield Check("e-stop sources", has_remote, "the wireless remote alone" if has_remote else "none",
                    "those of --estop", "name one by --estop, or as `estop` in the wiring file", False)
        return
    try:
        sources = Sources(settings, robot)
    except BridgeError as error:
        yield refused_line(error)
        return
    try:
        if sources.keyboard is not None:
            sources.keyboard.open()
        states = _await_released(sources)
    except BridgeError as error:
        yield refused_line(error)
        return
    finally:
        sources.close()
    for name, (pressed, silent) in zip(settings.estops, states, strict=False):
        found = "silent" if silent else "pressed" if pressed else "alive, released"
        yield Check(f"e-stop {name}", not (pressed or silent), found, "alive, released",
                    "switch it on, plug it in, or release it; see docs/teleop.md")


def _await_released(sources: Sources) -> list[tuple[bool, bool]]:
    """(pressed, silent) of each, once all are well or the time is over."""
    end = time.monotonic() + SOURCES_S
    while True:
        now = time.monotonic_ns()
        sources.pump(now)
        states = [stop.poll(now) for stop in sources.stops]
        if not any(pressed or silent for pressed, silent in states) or time.monotonic() > end:
            return states
        sources.wait(LOOK_S)


def check_presses(settings: RunSettings) -> Iterator[Check]:
    """Each configured kind, pressed by a stand-in for its device."""
    if not settings.estops:
        return
    for kind in dict.fromkeys(spec.kind for spec in parse_estops(settings.estops)):
        yield check_press(kind)


def check_press(kind: str) -> Check:
    """One kind: released and alive before, pressed after."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            before, after = _STAND_INS[kind](Path(folder) / "device")
            found = f"{_said(before)}, then {_said(after)}"
            ok = before == (False, False) and after[0]
        except Exception as error:  # whatever breaks here would break in the run, where it must not
            found, ok = f"{type(error).__name__}: {error}", False
    return Check(f"e-stop {kind} pressed", ok, found, "released, then pressed",
                 "this version cannot read such a stop: use another source")


def _said(state: tuple[bool, bool]) -> str:
    return "silent" if state[1] else "pressed" if state[0] else "released"


Looks = tuple[tuple[bool, bool], tuple[bool, bool]]


def _press_keyboard(path: Path) -> Looks:
    far, near = os.openpty()
    keyboard = Keyboard(os.ttyname(near))
    try:
        keyboard.open()
        stop = KeyboardStop(keyboard)
        before = stop.poll(0)
        os.write(far, STOP_KEYS[:1])
        keyboard.pump(0)
        return before, stop.poll(0)
    finally:
        keyboard.close()
        os.close(near)
        os.close(far)


def _press_gamepad(path: Path) -> Looks:
    os.mkfifo(path)
    far = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    pad = Gamepad(str(path))
    try:
        pad.pump(0)
        stop = GamepadStop(pad)
        before = stop.poll(0)
        os.write(far, EVENT.pack(0, 0, EV_KEY, STOP, 1))
        pad.pump(0)
        return before, stop.poll(0)
    finally:
        pad.close()
        os.close(far)


def _press_network(path: Path) -> Looks:
    key = secrets.token_bytes(32)
    endpoint = StopEndpoint(lambda: secrets.randbits(64))
    client = StopClient(secrets.randbits(63), key)

    def exchange() -> tuple[bool, bool]:
        asked = decode(client.outgoing(0, at_once=True) or b"", key, TO_ROBOT)
        if isinstance(asked, Reject):
            raise BridgeError("network stop", expected="its own message", found=asked.name, what_to_do="report this")
        endpoint.respond(asked, 0)
        challenge = Challenge(endpoint.challenge)
        answer = Message(Kind.CHALLENGE, 0, asked.lease, asked.sequence, 0, challenge)
        client.take_in(encode(answer, key), 0)
        return endpoint.poll(0)

    exchange()  # the first only asks for a challenge
    before = exchange()
    client.pressed = True
    return before, exchange()


def _press_button(path: Path) -> Looks:
    os.mkfifo(path)
    far = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    stop = ButtonStop(str(path))
    try:
        os.write(far, b"RUN 1\nRUN 2\n")
        before = stop.poll(0)
        os.write(far, b"STOP\n")
        return before, stop.poll(0)
    finally:
        stop.close()
        os.close(far)


def _press_gpio(path: Path) -> Looks:
    path.write_bytes(b"0\n")
    stop = GpioStop(str(path))
    try:
        before = stop.poll(0)
        path.write_bytes(b"1\n")
        return before, stop.poll(0)
    finally:
        stop.close()


_STAND_INS: dict[str, Callable[[Path], Looks]] = {
    "keyboard": _press_keyboard, "gamepad": _press_gamepad, "network": _press_network, "button": _press_button,
    "gpio": _press_gpio,
}
