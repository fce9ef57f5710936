"""The routine for hands from plan to file: as `session`, on hands alone; the body stays as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from calibration import history
from calibration.hand_bench import RATE_HZ, HandRun
from calibration.hands import Hands
from calibration.order import Order
from calibration.parts import RAW
from calibration.raw import sha256
from calibration.report import write_report
from calibration.session import Say, judge
from firmware_bridge.imperfect_hands import ImperfectHands
from firmware_bridge.simulated_hands import read_hand_table
from firmware_bridge.truth import Truth, load_truth
from runtime.errors import Refused
from runtime.hand import hand_path, load_hand
from runtime.robot import load_robot


def carry_out_hands(hand: str, order: Order, say: Say, ask: Callable[[str], bool]) -> dict[str, Any]:
    """Run it on simulated hands; returns its report, which also lies in the order's folder.

    Args:
        hand: name or file of the hands.

    Raises:
        Refused: an order that makes no sense, before anything moves.
    """
    if order.target != "sim":
        raise Refused("calibrate hands", expected="--robot sim", found=order.target,
                      what_to_do="this version knows no real hands' ends yet: check them by hand")
    model = load_hand(hand)
    routine = Hands(model)
    table = load_robot(order.robot)
    data = None if order.file is None else history.read_data(order.file, table.name, order.serial)
    version = history.in_force(data if data is not None else {"versions": []})
    for line in (f"{routine.name}: {routine.summary}", *routine.plan()):
        say(line)
    if not ask("go?"):
        raise Refused(routine.name, expected="a yes", found="none", what_to_do="start it again when hands may move")
    order.out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "routine": routine.name, "version": routine.version, "robot": table.name, "serial": order.serial,
        "operator": order.operator, "at_utc": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "hands": model.name, "file": None if order.file is None else str(order.file), "raw": RAW, "parts": [],
    }
    began = time.monotonic()
    truth = load_truth(order.truth) if order.truth else Truth()
    hands = ImperfectHands(read_hand_table(hand_path(hand)), model.joints, truth)
    run = HandRun(routine.steps, routine.enclosed, hands, Stepping(hands), raw=order.out / RAW, about=about)
    said = 0

    def look() -> None:
        nonlocal said
        bench = run.bench
        while bench is not None and said < len(bench.said):
            say(bench.said[said])
            said += 1

    recording = run.run(look)
    about.update(stopped=run.stopped, seconds=round(time.monotonic() - began, 1),
                 simulated_seconds=round(run.ticks / RATE_HZ, 1), raw_sha256=sha256(order.out / RAW))
    if run.stopped:
        return write_report(order.out, {**about, "outcome": "stopped"}, None, [])
    return judge(order, about, routine.fit(recording), version, data, say, ask)


class Stepping:
    """Simulated time: a period of the hands a call."""

    def __init__(self, hands: ImperfectHands) -> None:
        self._hands, self._now_ns = hands, 1_000_000_000

    def __call__(self) -> int:
        self._hands.step()
        self._now_ns += round(1e9 / RATE_HZ)
        return self._now_ns
