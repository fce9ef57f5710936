"""DDS topics of ours between real processes on the loopback: exchange, discovery, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import numpy as np
import pytest

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import DdsError
from firmware_bridge.layout import GO_SPORT_MODE_STATE, HG_IMU_STATE, HG_LOW_CMD, HG_LOW_STATE

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).resolve().parents[1]
EXCHANGE_DOMAIN, RIVAL_DOMAIN, LOCAL_DOMAIN = 71, 72, 73
STOCK_DOMAIN = 81  # holds nothing but this file's stock child, as stock_path demands
PATIENCE_S = 15.0

ECHO = """
with Participant(DdsSettings(int(sys.argv[1])), "echo") as us:
    reader, writer = us.reader("rt/lowcmd", HG_LOW_CMD), us.writer("rt/lowstate", HG_LOW_STATE)
    tick = HG_LOW_STATE.view(writer.buffer, "tick")
    counter = HG_LOW_CMD.view(reader.buffer, "reserve")
    print("ready", flush=True)
    while not closed():
        if reader.wait(0.05) and reader.take():
            tick[0] = counter[0] + 1
            writer.write()
"""

RIVAL = """
with Participant(DdsSettings(int(sys.argv[1])), "rival") as us:
    writer = us.writer("rt/lowcmd", HG_LOW_CMD)
    print("ready", flush=True)
    while not closed(0.05):
        pass
"""

STOCK = """
from firmware_bridge.stock_path import StockBus, blank, stock_type
from firmware_bridge.layout import Layout, Member, Struct

form = GO_SPORT_MODE_STATE.struct
floats = tuple(Member(name, "f32") for name in ("t_from_start", "x", "y", "yaw", "vx", "vy", "vyaw"))
point = Struct("unitree_go::msg::dds_::PathPoint_", floats)
if sys.argv[2] == "with path":
    form = Struct(form.type_name, (*form.members, Member("path_point", point, 10)))
bus = StockBus(int(sys.argv[1]), ("rt/imu_in", HG_IMU_STATE), ("rt/sportmodestate", Layout(form)))
imu = StockBus(int(sys.argv[1]), ("rt/unused", HG_IMU_STATE), ("rt/imu_out", HG_IMU_STATE))
sport, reading = blank(form), blank(HG_IMU_STATE.struct)
sport.foot_speed_body[11] = 12.5
reading.temperature, reading.quaternion[3] = -7, 0.5
print("ready", flush=True)
while not closed(0.01):
    bus.write(sport)
    imu.write(reading)
    sample = bus.take()
    if sample:
        print(sample.temperature, sample.rpy[2], flush=True)
"""

PREAMBLE = """
import select, sys
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import GO_SPORT_MODE_STATE, HG_IMU_STATE, HG_LOW_CMD, HG_LOW_STATE

def closed(timeout_s=0.0):
    return bool(select.select([sys.stdin], [], [], timeout_s)[0])
"""


@contextmanager
def child(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python child that ends when its input closes, then in good order unless it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + program, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        if process.poll() is None:
            process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_two_processes_exchange_command_and_state_and_the_last_state_outlives_its_writer() -> None:
    with Participant(DdsSettings(EXCHANGE_DOMAIN), "us") as us:
        reader, writer = us.reader("rt/lowstate", HG_LOW_STATE), us.writer("rt/lowcmd", HG_LOW_CMD)
        counter = HG_LOW_CMD.view(writer.buffer, "reserve")
        tick = HG_LOW_STATE.view(reader.buffer, "tick")
        assert not reader.take()
        assert not reader.wait(0)
        with child(ECHO, EXCHANGE_DOMAIN):
            # A match is one side's knowledge: what is sent before the other side knows too is lost.
            counter[0] = 1000
            eventually(lambda: writer.write() and reader.wait(0.05) and reader.take(), "no first answer")
            assert writer.matched() == reader.matched() == 1
            for i in range(200):
                counter[0] = i
                assert writer.write()
                eventually(lambda: reader.wait(PATIENCE_S) and reader.take() and tick[0] != 1001, "no answer")
                assert tick[0] == i + 1
                assert not reader.take()
        eventually(lambda: reader.matched() == 0, "the writer left but is still matched")
        assert not reader.take()
        assert tick[0] == 200


@pytest.mark.parametrize("ending", ["closes", "is killed"])
def test_second_writer_is_seen_and_dropped_when_it(ending: str) -> None:
    with Participant(DdsSettings(RIVAL_DOMAIN), "us") as us:
        us.writer("rt/lowcmd", HG_LOW_CMD)
        assert us.foreign_writers("rt/lowcmd") == []
        with child(RIVAL, RIVAL_DOMAIN) as rival:
            eventually(lambda: us.foreign_writers("rt/lowcmd"), "the second writer was not seen")
            (description,) = us.foreign_writers("rt/lowcmd")
            assert "'rival'" in description
            assert str(rival.pid) in description
            assert us.foreign_writers("rt/lowstate") == []
            assert [text for text in us.foreign_participants() if "'rival'" in text]
            if ending == "is killed":
                rival.kill()
                eventually(lambda: not us.foreign_writers("rt/lowcmd"), "a killed writer was not dropped")
        eventually(lambda: not us.foreign_writers("rt/lowcmd"), "a closed writer was not dropped")
        eventually(lambda: not us.foreign_participants(), "a closed participant was not dropped")
        assert not us.poll()


@pytest.mark.parametrize("form", ["without path", "with path"])
def test_stock_python_peer_exchanges_odd_sized_and_extended_messages(form: str) -> None:
    pytest.importorskip("cyclonedds")
    with child(STOCK, STOCK_DOMAIN, form) as stock, Participant(DdsSettings(STOCK_DOMAIN), "us") as us:
        sport = us.reader("rt/sportmodestate", GO_SPORT_MODE_STATE)
        imu, imu_out = us.reader("rt/imu_out", HG_IMU_STATE), us.writer("rt/imu_in", HG_IMU_STATE)
        eventually(sport.take, "no SportModeState_")
        speeds = GO_SPORT_MODE_STATE.view(sport.buffer, "foot_speed_body")
        assert speeds.tolist() == [0.0] * 11 + [12.5]
        eventually(imu.take, "no IMUState_")
        assert HG_IMU_STATE.view(imu.buffer, "temperature") == -7
        assert HG_IMU_STATE.view(imu.buffer, "quaternion")[3] == 0.5
        HG_IMU_STATE.view(imu_out.buffer, "temperature")[:] = -9
        HG_IMU_STATE.view(imu_out.buffer, "rpy")[2] = 0.25
        output = stock.stdout
        assert output is not None
        eventually(lambda: imu_out.write() and select([output], [], [], 0.01)[0], "nothing was received")
        assert output.readline() == "-9 0.25\n"
        assert imu_out.matched() == 1


def test_interface_that_does_not_exist_is_named_with_the_domain_and_the_existing_ones() -> None:
    with pytest.raises(DdsError) as error:
        Participant(DdsSettings(LOCAL_DOMAIN, interface="eth99"), "us")
    message = str(error.value)
    assert "eth99" in message and f"domain {LOCAL_DOMAIN}" in message
    assert "lo" in error.value.expected


def test_environment_has_no_say_in_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", "<CycloneDDS><NoSuchElement/></CycloneDDS>")
    with Participant(DdsSettings(LOCAL_DOMAIN), "us"):
        pass


def test_one_process_cannot_give_a_domain_two_settings_but_can_open_it_again() -> None:
    one, other = DdsSettings(LOCAL_DOMAIN), DdsSettings(LOCAL_DOMAIN, peers=("127.0.0.1",))
    with Participant(one, "us"), pytest.raises(DdsError, match="one setting per domain"):
        Participant(other, "us")
    with Participant(other, "us"):
        pass


def test_two_participants_in_one_process_meet() -> None:
    with Participant(DdsSettings(LOCAL_DOMAIN), "a") as a, Participant(DdsSettings(LOCAL_DOMAIN), "b") as b:
        writer, reader = a.writer("rt/lowcmd", HG_LOW_CMD), b.reader("rt/lowcmd", HG_LOW_CMD)
        writer.buffer[:] = np.arange(writer.buffer.size)
        eventually(lambda: writer.write() and reader.take(), "no LowCmd_")
        np.testing.assert_array_equal(reader.buffer, writer.buffer)
        assert len(b.foreign_writers("rt/lowcmd")) == 1
        assert a.foreign_writers("rt/lowcmd") == []


def test_missing_library_says_what_to_install() -> None:
    program = "from firmware_bridge.dds import *\nParticipant(DdsSettings(), 'us')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "EXOACTOR_LIBDDSC": "/nonexistent/libddsc.so"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "/nonexistent/libddsc.so" in done.stderr
    assert "pip install cyclonedds" in done.stderr and "Jetson" in done.stderr
