"""The field's own libraries against our emulated drives: what they read proves the emulators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import numpy as np
import pytest

for package in ("moteus", "can", "dynamixel_sdk", "serial"):
    pytest.importorskip(package, reason=f"missing dependency: {package}")

import can
import moteus

import exoactor
from firmware_bridge import serial_bench
from firmware_bridge.drives.moteus_far_end import MoteusFarEnd
from firmware_bridge.drives.protocols import make_far_end
from firmware_bridge.drives.robstride_far_end import RobstrideFarEnd
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_bench_drives import bench_drives
from firmware_bridge.serial_bench_far_end import DAMAGE, damaged
from firmware_bridge.stock_hosts import STOCK_HOSTS, MoteusHost, SlcanHost
from tests.drive_talk import motors_of
from tests.pty_far_end import PtyFarEnd

pytestmark = pytest.mark.realtime

WHERE = np.linspace(-1.5, 1.5, 12)


@pytest.fixture(params=STOCK_HOSTS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def far(protocol: str) -> Iterator[PtyFarEnd]:
    drives = bench_drives(protocol)
    motors = motors_of(len(drives))
    motors.q[:] = WHERE[: len(drives)]
    side = PtyFarEnd(make_far_end(protocol, drives, motors, list(range(len(drives)))), motors)
    yield side
    side.close()


def test_a_library_reads_where_our_emulated_drives_stand(protocol: str, far: PtyFarEnd) -> None:
    host = STOCK_HOSTS[protocol](far.path, bench_drives(protocol))
    assert len(host.run(5)) == 5
    np.testing.assert_allclose(host.positions(), far.motors.q, atol=2e-3)
    host.close()


def test_a_library_misses_a_dead_drive_and_no_other(protocol: str, far: PtyFarEnd) -> None:
    host = STOCK_HOSTS[protocol](far.path, bench_drives(protocol))
    host.run(2)
    far.motors.is_dead[3] = True
    host.run(1)
    missing = np.isnan(host.positions())
    assert missing[3] and (protocol == "dynamixel" or missing.sum() == 1)
    host.close()


def test_moteus_s_own_client_drives_stops_and_configures_an_emulated_one() -> None:
    drives, motors = bench_drives("moteus-fdcanusb"), motors_of(12)
    far = PtyFarEnd(MoteusFarEnd(drives, motors, list(range(12))), motors, steps=True)

    async def talk() -> None:
        transport = moteus.Fdcanusb(far.path)
        one = moteus.Controller(id=5, transport=transport)
        await one.set_stop()
        for _ in range(20_000):  # as fast as it goes, while the drive moves in its own time
            state = await one.set_position(position=0.1, velocity=0.0, kp_scale=1.0, kd_scale=1.0, query=True)
            if abs(state.values[moteus.Register.POSITION] - 0.1) < 0.005:
                break
        assert state.values[moteus.Register.MODE] == moteus.Mode.POSITION
        assert state.values[moteus.Register.POSITION] == pytest.approx(0.1, abs=0.02)
        assert motors.q[4] == pytest.approx(0.1 * 2 * np.pi, abs=0.05) and motors.is_enabled.sum() == 1
        stream = moteus.Stream(one, use_flow_control=False)
        assert await stream.command(b"conf get servo.default_timeout_s", allow_any_response=True) == b"0.100000"
        await stream.command(b"conf set servo.default_timeout_s 0.05")
        assert motors.watchdog_s[4] == 0.05
        await asyncio.sleep(0.2)
        state = await one.query()
        assert state.values[moteus.Register.MODE] == moteus.Mode.TIMEOUT
        await one.set_stop()
        assert (await one.query()).values[moteus.Register.MODE] == moteus.Mode.STOPPED
        transport.close()
        await asyncio.sleep(0)

    asyncio.run(talk())
    far.close()


def test_python_can_talks_robstride_s_protocol_to_emulated_drives() -> None:
    """Long identifiers over slcan: enable, a parameter, feedback."""
    from firmware_bridge.drives.language import Drive

    motors = motors_of(1)
    motors.q[0] = 0.5
    far = PtyFarEnd(RobstrideFarEnd([Drive(0, 10, "RS03")], SlcanLink(), motors, [0]), motors)
    bus = can.Bus(interface="slcan", channel=far.path, bitrate=1_000_000, sleep_after_open=0)
    bus.send(can.Message(arbitration_id=0x0300FD0A, data=bytes(8), is_extended_id=True))
    answer = bus.recv(timeout=1)
    assert answer is not None and answer.arbitration_id == 0x02800AFD and motors.is_enabled[0]
    code = int.from_bytes(answer.data[:2], "big")
    assert code / 65535 * 8 * np.pi - 4 * np.pi == pytest.approx(0.5, abs=1e-3)
    bus.send(can.Message(arbitration_id=0x1100FD0A, data=bytes([0x0B, 0x70, 0, 0, 0, 0, 0, 0]), is_extended_id=True))
    answer = bus.recv(timeout=1)
    assert answer is not None and np.frombuffer(bytes(answer.data[4:]), "<f4")[0] == 60.0
    bus.shutdown()
    far.close()


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_hurts_one_byte_of_the_first_drive_s_answer(name: str) -> None:
    answer = DAMAGE[name][0] + bytes(60)
    hurt = damaged(answer, name)
    assert sum(a != b for a, b in zip(hurt, answer, strict=True)) == 1
    assert damaged(b"OK *BD\n", name) == b"OK *BD\n"


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "moteus", None)
    with pytest.raises(BridgeError, match=r"moteus to compare with.*exoactor\[bench\]"):
        MoteusHost("nowhere", [])
    monkeypatch.setitem(__import__("sys").modules, "can", None)
    with pytest.raises(BridgeError, match="python-can"):
        SlcanHost("nowhere", [])


@pytest.mark.slow
def test_the_benchmark_measures_both_sides_and_what_faults_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (("WARM", 3), ("ROUNDS", 1), ("AT_ONCE", 3), ("FAULT_CYCLES", 5), ("EVENTS", 2)):
        monkeypatch.setattr(serial_bench, name, value)
    assert exoactor.main(["bench", "--only", "serial", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("moteus", "slcan", "dynamixel"):
        assert found[f"{name}_cycle_ratio"] > 0 and found[f"{name}_ours_cycle_p50_us"] > 0
        assert found[f"{name}_ours_bad_crc_lost_samples"] == 1
    assert found["moteus_stock_dead_cost_us"] > 100_000
