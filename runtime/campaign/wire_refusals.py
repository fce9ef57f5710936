"""What a robot on the network may be so that `exoactor run` refuses it: simulated robots, and the command itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.campaign.refusals import Refusal
from runtime.child import Child
from runtime.errors import Refused

FIRST_DOMAIN, DOMAINS = 140, 60
START_S, VERDICT_S = 30.0, 40.0


def _domain(seed: int, place: int) -> int:
    """One of its own for each attempt of a campaign, as far as there are some."""
    return FIRST_DOMAIN + (seed * 7 + place) % DOMAINS


@contextlib.contextmanager
def _sim(folder: Path, domain: int, *words: str) -> Iterator[None]:
    """A simulated robot."""
    sim = Child("sim", ["-m", "exoactor", "sim", "--domain", str(domain), "--follow", str(os.getpid()), "--no-realtime",
                        *words], folder / "sim.err")
    try:
        sim.await_ready(START_S, lambda line: None)
        yield
    finally:
        sim.end(5.0)


def _ask(folder: Path, domain: int) -> None:
    """`exoactor run` against whatever is on a domain; raises its refusal, returns when it refused nothing."""
    words = ["run", "--robot", "dds", "--domain", str(domain), "--clip", "wave", "--duration", "0.5", "--no-realtime",
             "--out", str(folder / "run"), "--json"]
    done = subprocess.run([sys.executable, "-m", "exoactor", *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=VERDICT_S, check=False)
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"exoactor run said nothing (exit {done.returncode}): {done.stderr[-500:]}") from None
    if said.get("outcome") == "refused":
        raise Refused(said["what"], expected=said["expected"], found=said["found"], what_to_do=said["what_to_do"])


def _against(place: int, *words: str) -> Callable[[Path, int], None]:
    """A simulated robot with these options."""

    def attempt(folder: Path, seed: int) -> None:
        domain = _domain(seed, place)
        with _sim(folder, domain, *words):
            _ask(folder, domain)

    return attempt


def _nobody(folder: Path, seed: int) -> None:
    _ask(folder, _domain(seed, 1))


def _joint_off(folder: Path, seed: int) -> None:
    """A motor that carries reads 1 rad too much."""
    _against(2, "--ailment", f"encoder@0,motor={(0, 3, 6, 9)[seed % 4]},rad=1.0")(folder, seed)


def _intruded(folder: Path, seed: int) -> None:
    domain = _domain(seed, 3)
    with _sim(folder, domain):
        words = [sys.executable, "-m", "runtime.campaign.intruder", str(domain)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as intruder:
            assert intruder.stdout is not None and intruder.stdin is not None
            intruder.stdout.readline()
            time.sleep(0.2)
            try:
                _ask(folder, domain)
            finally:
                intruder.stdin.close()


WIRE_REFUSALS: tuple[Refusal, ...] = (
    Refusal(48, "SECOND_WRITER", "somebody commands the robot before the start", _intruded, "other commander"),
    Refusal(49, "MOTION_SERVICE", "a robot whose motion service is active",
            _against(4, "--motion-service", "ai"), "motion service"),
    Refusal(50, "NO_ROBOT", "nobody on the domain", _nobody, "domain"),
    Refusal(58, "WRONG_VARIANT", "a robot of variant 9", _against(5, "--mode-machine", "9"), "mode_machine"),
    Refusal(61, "JOINT_OFFSET", "a leg's joint that reads 1 rad too much", _joint_off, "start pose"),
)
