"""What reaches the operator's process from outside: datagrams, button lines, gamepad files, typed keys.

Nothing of it may raise, not even a refusal: a message that is none is named and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np

from runtime.gamepad import EV_KEY, EVENT, STOP, Pad
from runtime.keyboard import Keys
from runtime.lease import Lease
from runtime.network_stop import StopEndpoint
from runtime.operator_message import (
    MAC_BYTES,
    TO_OPERATOR,
    TO_ROBOT,
    Beat,
    Empty,
    Kind,
    Message,
    Pose,
    Reject,
    Response,
    Take,
    decode,
    encode,
    mac,
    pose_form,
)
from runtime.stop_button import ButtonLine

FORM = pose_form(("hip", "knee"))
MS = 1_000_000


def eat_datagram(data: bytes) -> None:
    """As it comes, and under a right MAC, so that bodies are reached; what is sound goes on to lease and stop."""
    numbers = count(1)
    lease, stop = Lease(lambda: next(numbers)), StopEndpoint(lambda: next(numbers))
    sealed = data[:-MAC_BYTES] + mac(data[:-MAC_BYTES], None)
    for now, datagram in enumerate((data, sealed, sealed)):
        decode(datagram, bytes(32), TO_OPERATOR)
        message = decode(datagram, None, TO_ROBOT, FORM)
        if isinstance(message, Reject):
            continue
        if isinstance(message.body, Pose):
            values = np.concatenate(message.body[1:])
            if not np.isfinite(values).all() or abs(np.linalg.norm(values[-4:].astype(float)) - 1) > 2e-3:
                raise AssertionError("an unsound frame was taken")
        if isinstance(message.body, Response):
            stop.respond(message, now)
        elif isinstance(message.body, Take):
            lease.take(message, now)
        elif lease.judge(message, now) is None:
            raise AssertionError("a message was taken without a lease")


def eat_lines(data: bytes) -> None:
    """Lines of a wired button, in two pieces."""
    line = ButtonLine()
    for now, part in enumerate((data[: len(data) // 2], data[len(data) // 2 :])):
        line.feed(part, now)
        line.poll(now)


def eat_events(data: bytes) -> None:
    """A gamepad's file."""
    pad = Pad()
    pad.feed(data)
    if any(abs(speed) > 1 for speed in pad.command):
        raise AssertionError("a stick commands more than its end")


def eat_keys(data: bytes) -> None:
    """A terminal, a key each 30 ms."""
    keys = Keys()
    for i, byte in enumerate(data):
        keys.feed(bytes([byte]), i * 30 * MS)
        keys.command(i * 30 * MS)


def _datagrams() -> list[bytes]:
    pose = Pose(FORM.names, *(np.array(part, np.float32) for part in ([0, 1], [0, 0], [0, 0, 1], [1, 0, 0, 0])))
    bodies = {Kind.TAKE: Take(1, 0, 0, b"ann"), Kind.BEAT: Beat(0, 0, 1, 1, 0.5, 0.0, 0.0, 1), Kind.POSE: pose,
              Kind.RELEASE: Empty(), Kind.STOP: Empty(), Kind.RESPONSE: Response(5, 0)}
    return [encode(Message(kind, 1, 1, 1, 5, body), None) for kind, body in bodies.items()]


OPERATOR_TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "button": (eat_lines, lambda: [b"RUN 1\nRUN 2\nSTOP\n"]),
    "datagram": (eat_datagram, _datagrams),
    "gamepad": (eat_events, lambda: [EVENT.pack(0, 0, EV_KEY, STOP, 1) * 3]),
    "keys": (eat_keys, lambda: [b"gwwwwc d\x1b[A"]),
}
