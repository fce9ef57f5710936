"""`exoactor teleop`: the operator's computer: command a robot, be its stop button, or make the key of the link."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import select
import signal
import socket
import sys
import time
from pathlib import Path

from runtime.errors import Refused
from runtime.faults import Mode
from runtime.gamepad import Gamepad
from runtime.keyboard import KEY_HELP, Keyboard
from runtime.lease import Status
from runtime.mux import Source
from runtime.network_stop import StopClient
from runtime.operator_key import check_bind, make_key, parse_address, read_key
from runtime.operator_message import LARGEST
from runtime.operator_state import REFUSAL_WORDS, WARN_S, Refusal
from runtime.teleop_client import TeleopClient
from runtime.teleop_sources import GamepadTeleop, KeyboardTeleop, TeleopSource

ACTIONS = ("drive", "stop-button", "keygen")
LOOK_S, SHOW_NS = 0.01, 200_000_000
FIRST_ANSWER_NS, QUIET_NS = 5_000_000_000, 500_000_000
LAST_WORDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor teleop`."""
    parser.epilog = (
        "examples:\n"
        "  exoactor teleop keygen link.key                                       once; copy it to both ends\n"
        "  exoactor teleop --to 192.168.123.164:5570 --key link.key --source gamepad\n"
        "  exoactor teleop stop-button --to 192.168.123.164:5570 --key link.key\n"
        f"keys of --source keyboard: {KEY_HELP}"
    )
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="drive", help="default: drive")
    parser.add_argument("file", nargs="?", type=Path, help="keygen: the new key file")
    parser.add_argument("--to", metavar="HOST:PORT", help="the robot's --teleop-bind, or its network stop")
    parser.add_argument("--key", type=Path, metavar="FILE", help="key file of the link; none only on this computer")
    parser.add_argument("--source", choices=("keyboard", "gamepad"), default="keyboard", help="default: keyboard")
    parser.add_argument("--name", default=os.environ.get("USER", ""), help="who commands, for the robot's log")
    parser.add_argument("--take-over", action="store_true",
                        help="take the lease from an operator who is still there: a person decides that, no script")


def run(args: argparse.Namespace) -> int:
    """One of the actions; returns the exit code."""
    if args.action == "keygen":
        return _keygen(args.file)
    if args.file is not None or args.to is None:
        raise Refused("exoactor teleop", expected="--to HOST:PORT", found=str(args.file or "none"),
                      what_to_do="see exoactor teleop --help")
    address = parse_address(args.to, "--to")
    key = read_key(args.key) if args.key is not None else None
    check_bind(address, key, "--to")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        link.connect(address)
        return _drive(args, link, key) if args.action == "drive" else _stop_button(link, key)


def _keygen(path: Path | None) -> int:
    if path is None:
        raise Refused("exoactor teleop keygen", expected="a file name", found="none",
                      what_to_do="e.g. exoactor teleop keygen link.key")
    make_key(path)
    print(f"{path}: whoever has a copy can command the robot. Give it to both ends, and keep it at mode 0600.")
    return 0


def _draw() -> int:
    return secrets.randbits(64)


def _send(link: socket.socket, datagrams: list[bytes]) -> None:
    for data in datagrams:
        with contextlib.suppress(OSError):  # nobody listens yet, or the way is full: the next one may arrive
            link.send(data)


def _receive(link: socket.socket) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(OSError):  # nothing there, or nobody listens yet
        while len(found) < 16:
            found.append(link.recv(LARGEST + 1))
    return found


def _terminal() -> str | None:
    try:
        return os.ttyname(sys.stdin.fileno())
    except (OSError, ValueError):
        return None


def _open_keyboard() -> Keyboard:
    path = _terminal()
    if path is None:
        raise Refused("--source keyboard", expected="a terminal", found="none", what_to_do="start it in one")
    keyboard = Keyboard(path)
    keyboard.open()
    return keyboard


class _Line:
    """A status line that is written over on a terminal, and said once a change elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shown_ns, self._before = 0, ""

    def show(self, text: str, now_ns: int) -> None:
        if now_ns - self._shown_ns < SHOW_NS or (not self._is_terminal and text == self._before):
            return
        self._shown_ns, self._before = now_ns, text
        print(f"\r{text:<110}" if self._is_terminal else text, end="" if self._is_terminal else "\n",
              file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._is_terminal:
            print(file=sys.stderr)


def _drive(args: argparse.Namespace, link: socket.socket, key: bytes | None) -> int:
    device: Keyboard | Gamepad = _open_keyboard() if args.source == "keyboard" else Gamepad(None)
    source: TeleopSource = KeyboardTeleop(device) if isinstance(device, Keyboard) else GamepadTeleop(device)
    client = TeleopClient(key, _draw, name=args.name, take_over=args.take_over)
    line, began_ns = _Line(), time.monotonic_ns()
    try:
        while True:
            select.select([link, *([device] if device.is_open else [])], [], [], LOOK_S)
            now_ns = time.monotonic_ns()
            device.pump(now_ns)
            for data in _receive(link):
                client.take_in(data, now_ns)
            said = source.look(now_ns)
            _send(link, client.outgoing(now_ns, held=said.held, engages=said.gestures, resumes=said.resumes,
                                        command=said.command, stop=source.stop_pressed()))
            _check(client, now_ns - began_ns)
            line.show(describe(client, now_ns, said.held), now_ns)
    except KeyboardInterrupt:
        return 0
    finally:
        _send(link, client.release(time.monotonic_ns()))
        device.close()
        line.end()


def _check(client: TeleopClient, waited_ns: int) -> None:
    if client.status is Status.TAKEN:
        raise Refused("lease", expected="a free one", found="another operator who is still there",
                      what_to_do="agree with that person, then give --take-over")
    if client.answer is None and waited_ns > FIRST_ANSWER_NS:
        raise Refused("robot", expected="an answer", found="none in 5 s",
                      what_to_do="check address and port, that both ends have the same key, and that the run has "
                      "--teleop network")


def describe(client: TeleopClient, now_ns: int, held: bool) -> str:
    """The status line: mode, dead-man, latency, and what is wrong."""
    answer = client.answer
    if answer is None or not client.has_lease:
        return "asking for the lease"
    parts = [Mode(answer.mode).name if answer.mode in set(Mode) else "?", "HELD" if held else "released",
             f"latency p50 {answer.p50_s * 1e3:.0f} ms p99 {answer.p99_s * 1e3:.0f} ms"]
    if answer.source == Source.CLIP:
        parts.append("HANDED BACK: letting go stops nothing")
    if answer.p99_s > WARN_S:
        parts.append("SLOW LINK")
    if answer.refusal in set(Refusal) and answer.refusal:
        parts.append(f"refused: {REFUSAL_WORDS[Refusal(answer.refusal)]}")
    quiet_ns = now_ns - client.heard_ns
    if quiet_ns > QUIET_NS:
        parts.append(f"NO ANSWER for {quiet_ns / 1e9:.1f} s")
    return "  ".join(parts)


def _stop_button(link: socket.socket, key: bytes | None) -> int:
    """Alive as long as it runs; a stop key, Ctrl-C or its end stop the robot."""
    keyboard = _open_keyboard() if _terminal() is not None else None
    client, line = StopClient(_draw(), key), _Line()
    try:
        while True:
            files: list[socket.socket | Keyboard] = [link]
            if keyboard is not None and keyboard.is_open:
                files.append(keyboard)
            select.select(files, [], [], LOOK_S)
            now_ns = time.monotonic_ns()
            if keyboard is not None:
                keyboard.pump(now_ns)
            for data in _receive(link):
                client.take_in(data, now_ns)
            was_pressed = client.pressed
            client.pressed |= keyboard is not None and (keyboard.keys.stops > 0 or not keyboard.is_open)
            due = client.outgoing(now_ns, at_once=client.pressed and not was_pressed)
            _send(link, [due] if due else [])
            quiet = now_ns - client.heard_ns > QUIET_NS
            line.show(f"{'PRESSED' if client.pressed else 'space or Esc stops'}  "
                      f"{'NO ANSWER' if quiet else 'the robot hears this button'}", now_ns)
    except KeyboardInterrupt:
        return 0
    finally:
        client.pressed = True
        for _ in range(LAST_WORDS):
            now_ns = time.monotonic_ns()
            due = client.outgoing(now_ns, at_once=True)
            _send(link, [due] if due else [])
            select.select([link], [], [], LOOK_S)
            for data in _receive(link):
                client.take_in(data, now_ns)
        if keyboard is not None:
            keyboard.close()
        line.end()
