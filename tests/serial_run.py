"""A run over emulated serial ports in processes of its own, with somebody who answers what a run asks its operator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from firmware_bridge.wiring import wiring_path

READY_S, RELEASE_S = 0.2, 2.5
ANSWERS = {"Type MOVE": (0.0, "MOVE\n"), "Start pose reached": (READY_S, "\n"), "DAMPING": (RELEASE_S, "\n")}


def demo_wiring(folder: Path) -> Path:
    """The shipped demo with ports in a folder of its own."""
    data = json.loads(wiring_path("g1_serial_demo").read_text())
    for part in (*data["buses"], data["imu"]):
        part["port"] = str(folder / "ports" / Path(part["port"]).name)
    path = folder / "wiring.json"
    path.write_text(json.dumps(data))
    return path


class Emulator:
    """`exoactor bridge emulate`."""

    def __init__(self, wiring: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "exoactor", "bridge", "emulate", "--robot", str(wiring), *options],
            stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self._process.stdout.readline())

    def end(self) -> dict[str, Any]:
        """Stop it; its last word."""
        self._process.terminate()
        out, _ = self._process.communicate(timeout=20)
        last: dict[str, Any] = json.loads(out.splitlines()[-1])
        return last


def run_serial(wiring: Path, out: Path, *options: str, answers: bool = True) -> tuple[int, str]:
    """`exoactor run --robot WIRING`; its exit code and what it told its operator."""
    command = [sys.executable, "-m", "exoactor", "run", "--robot", str(wiring), "--out", str(out), *options]
    told = []
    with subprocess.Popen(command, stdin=subprocess.PIPE if answers else subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            told.append(line)
            for asked, (after_s, answer) in ANSWERS.items():
                if asked in line and process.stdin is not None:
                    time.sleep(after_s)
                    process.stdin.write(answer)
                    process.stdin.flush()
    return process.returncode, "".join(told)
