"""The commands of docs/serial.md as typed: an emulator in a process of its own, and who looks after its drives."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("serial", reason="missing dependency: pyserial")

import exoactor
from firmware_bridge.serial_port import SerialPort
from tests.test_wiring import small_wiring

pytestmark = pytest.mark.realtime

ROOT = str(Path(__file__).resolve().parents[1])


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "exoactor", "bridge", *words]


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An emulated robot: a slcan bus of drives 1 to 3, and an IMU."""
    wiring = small_wiring(tmp_path, imu={"port": "imu", "protocol": "xsens"})
    emulator = subprocess.Popen(command("emulate", "--robot", str(wiring), "--no-realtime"), stdout=subprocess.PIPE,
                                cwd=ROOT, text=True)
    with emulator:
        assert emulator.stdout is not None
        ready = json.loads(emulator.stdout.readline())
        yield {Path(name).name: port["path"] for name, port in ready["ports"].items()}
        emulator.terminate()


def bridge(capsys: pytest.CaptureFixture[str], job: str, port: str, *words: str) -> tuple[int, dict[str, Any]]:
    code = exoactor.main(["bridge", job, "--port", port, "--protocol", "damiao-slcan", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_drives_are_found_pinged_and_watched(ports: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "scan", ports["port_a"])
    assert code == 0 and [drive["id"] for drive in told["found"]] == [1, 2, 3]
    code, told = bridge(capsys, "ping", ports["port_a"], "--id", "2", "--count", "50")
    assert told["asked"] == 50 and told["lost"] < 25 and told["round_trip_p50_us"] > 0
    code, told = bridge(capsys, "watchdog", ports["port_a"], "--ids", "1-3", "--seconds", "0.05")
    assert code == 0 and told["watchdog_s"] == {"1": 0.05, "2": 0.05, "3": 0.05}
    assert bridge(capsys, "scan", ports["imu"], "--ids", "1")[0] == 1  # no drive there


def test_a_port_that_is_in_use_is_refused(ports: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    port = SerialPort(ports["port_a"], 921_600)
    code, told = bridge(capsys, "scan", ports["port_a"])
    assert code == 2 and "nobody else uses" in told["expected"]
    port.close()
    assert bridge(capsys, "scan", ports["port_a"])[0] == 0


@pytest.mark.parametrize(("typed", "code"), [(b"7\n", 0), (b"y\n", 2)])
def test_an_id_is_changed_when_a_person_types_it(
    typed: bytes, code: int, ports: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    master, slave = pty.openpty()
    words = command("set-id", "--port", ports["port_a"], "--protocol", "damiao-slcan", "--id", "3", "--new-id", "7")
    with subprocess.Popen(words, stdin=slave, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stderr is not None
        asked = b""
        while b"Type the new id" not in asked:
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, asked
            asked += piece
        os.write(master, typed)
        assert process.wait(20) == code
    os.close(master)
    os.close(slave)
    found = [drive["id"] for drive in bridge(capsys, "scan", ports["port_a"])[1]["found"]]
    assert found == ([1, 2, 7] if code == 0 else [1, 2, 3])
