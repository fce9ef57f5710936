"""`exoactor motion stream`: a clip as a live stream, for tests and demonstrations of `exoactor run --stream`."""

from __future__ import annotations

import argparse
import heapq
import math
import time
from collections.abc import Iterator
from itertools import chain, count

from export.motion.stream_sender import BadNetwork, command, messages
from runtime.chain import load_motion
from runtime.errors import Refused
from runtime.hand import load_hand
from runtime.packed_message import HAND, VERSIONS
from runtime.robot import load_robot
from runtime.stitch import RATE_HZ
from runtime.stream_socket import Publisher

WAITING = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor motion stream`."""
    parser.epilog = (
        "examples, each beside `exoactor run --stream tcp://127.0.0.1:5556`:\n"
        "  exoactor motion stream walk --to tcp://127.0.0.1:5556\n"
        "  exoactor motion stream human.npz --to tcp://127.0.0.1:5556 --protocol 2 --loss 0.05 --jitter-ms 20"
    )
    parser.add_argument("file", metavar="FILE", help="a clip, a chain, or a shipped one's name")
    parser.add_argument("--to", required=True, metavar="tcp://HOST:PORT", help="address to publish at")
    parser.add_argument("--protocol", type=int, choices=VERSIONS, default=1,
                        help="1: joints; 2: SMPL; 3: both; 4: tokens (default 1)")
    parser.add_argument("--topic", default="pose")
    parser.add_argument("--robot", default="g1_29dof", help="whose joints (default g1_29dof)")
    parser.add_argument("--hands", metavar="NAME|FILE", help="send the hands' joints too: dex3-1")
    parser.add_argument("--repeat", type=int, default=1, help="how many times in a row (default 1)")
    parser.add_argument("--start", action="store_true", help="ask by `command` to be followed")
    parser.add_argument("--wait", type=float, default=30.0, metavar="S", help="for a listener (default 30)")
    parser.add_argument("--key", metavar="FILE", help="secret CURVE certificate, needed off loopback")
    parser.add_argument("--loss", type=float, default=0.0, help="share of messages lost")
    parser.add_argument("--twice", type=float, default=0.0, help="share of messages sent twice")
    parser.add_argument("--jitter-ms", type=float, default=0.0, help="longest delay of a message")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Send it, in real time."""
    for name in ("loss", "twice"):
        if not 0 <= getattr(args, name) <= 1:
            raise Refused(f"--{name}", expected="a share from 0 to 1", found=f"{getattr(args, name)}",
                          what_to_do="e.g. 0.05")
    if not 0 <= args.jitter_ms <= 1000 or not 1 <= args.repeat <= 1000:
        raise Refused("--jitter-ms, --repeat", expected="0 to 1000 ms, 1 to 1000 times",
                      found=f"{args.jitter_ms}, {args.repeat}", what_to_do="stay within")
    clip = load_motion(args.file, load_robot(args.robot))
    hands = None if args.hands is None else load_hand(args.hands)
    if hands is not None and len(hands.joints) != HAND:
        raise Refused("--hands", expected=f"hands of {HAND} joints", found=f"{len(hands.joints)} of {hands.name}",
                      what_to_do="the protocol has room for no others: leave it out")
    source = messages(clip, args.protocol, args.topic, hands=hands, repeat=args.repeat)
    source = chain([next(source)], source)  # what cannot be sent is refused before anybody listens
    socket = Publisher(args.to, args.key, "--to", WAITING)
    try:
        if not socket.await_listener(args.wait):
            raise Refused("--to", expected=f"a listener within {args.wait:g} s", found="none",
                          what_to_do=f"start `exoactor run --stream {args.to}`, or give --wait")
        if args.start:
            socket.send(command(start=True))
        network = BadNetwork(args.loss, args.jitter_ms * 1e-3, args.twice, args.seed)
        frames, sent = _play(socket, source, network)
    finally:
        socket.close(1.0)
    print(f"{sent} messages of {frames} frames sent")
    return 0


def _play(socket: Publisher, source: Iterator[bytes], network: BadNetwork) -> tuple[int, int]:
    """Every message at its time; returns how many there were and how many were sent."""
    waiting: list[tuple[float, int, bytes]] = []
    begin, frames, order, sent = time.monotonic(), 0, count(), 0
    for frames, message in enumerate(source, start=1):
        for leaves in network.departures((frames - 1) / RATE_HZ):
            heapq.heappush(waiting, (leaves, next(order), message))
        sent += _send(socket, waiting, begin, frames / RATE_HZ)
    return frames, sent + _send(socket, waiting, begin, math.inf)


def _send(socket: Publisher, waiting: list[tuple[float, int, bytes]], begin: float, until_s: float) -> int:
    """What leaves before a time, each at its own; returns how many."""
    sent = 0
    while waiting and waiting[0][0] < until_s:
        leaves, _, message = heapq.heappop(waiting)
        time.sleep(max(0.0, begin + leaves - time.monotonic()))
        socket.send(message)
        sent += 1
    return sent
