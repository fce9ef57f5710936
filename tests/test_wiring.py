"""The file that says what hangs where, and the list of protocols it names."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from firmware_bridge.drives.damiao_adapter import DamiaoLink, FarDamiaoLink
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import PROTOCOLS, make_far_end, make_language
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.emulated_robot import EmulatedRobot
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_port import find_port
from firmware_bridge.wiring import SCHEMA, read_wiring

MODELS = {"damiao-slcan": "DM4310", "damiao-adapter": "DM4310", "robstride-slcan": "RS03", "robstride-at": "RS00",
          "moteus-fdcanusb": "moteus"}
"""A model of each protocol."""


def small_robot(folder: Path, joints: int = 3) -> Path:
    """A table of some joints on a wire that no DDS has."""
    path = folder / "robot.json"
    columns = ["name", "motor", "effort_n_m"]
    rows = [[f"joint_{at}", at, 10.0] for at in range(joints)]
    path.write_text(json.dumps({"name": "small", "joint_columns": columns, "joints": rows}))
    return path


def small_wiring(folder: Path, **changed: Any) -> Path:
    small_robot(folder)
    drives = [{"joint": f"joint_{at}", "id": at + 1, "model": "DM4310"} for at in range(3)]
    data: dict[str, Any] = {
        "schema": SCHEMA, "robot": "robot.json",
        "buses": [{"port": "port_a", "protocol": "damiao-slcan", "drives": drives}], **changed,
    }
    path = folder / "wiring.json"
    path.write_text(json.dumps(data))
    return path


def test_what_hangs_where_is_read(tmp_path: Path) -> None:
    drives = [
        {"joint": "joint_2", "id": 7, "model": "DM4340", "sign": -1, "gear": 2.5, "offset_rad": 0.25, "answer_id": 99},
        {"joint": "joint_0", "id": 8, "model": "DM4310"}, {"joint": "joint_1", "id": 9, "model": "DM4310"},
    ]
    port = {"vid": 0x0483, "pid": 0x5740, "serial": "A1:2"}
    wiring = read_wiring(small_wiring(tmp_path, watchdog_s=0.1, buses=[
        {"port": port, "protocol": "damiao-adapter", "baud": 1_000_000, "drives": drives}],
        estop={"port": "/dev/ttyS9", "protocol": "button"}))
    (bus,) = wiring.buses
    assert (bus.port, bus.protocol, bus.baud) == ("usb:0483:5740:A1:2", "damiao-adapter", 1_000_000)
    assert bus.drives[0] == Drive(2, 7, "DM4340", -1, 2.5, 0.25, 99, "joint_2")
    assert [drive.motor for drive in bus.drives] == [2, 0, 1] and wiring.motors == 3 and wiring.watchdog_s == 0.1
    assert wiring.estop is not None and wiring.estop.port == "/dev/ttyS9" and wiring.imu is None


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    assert read_wiring(small_wiring(tmp_path)).buses[0].port == str(tmp_path / "port_a")


def test_a_shipped_robot_is_named(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="joint_0"):
        read_wiring(small_wiring(tmp_path, robot="g1_29dof"))


@pytest.mark.parametrize(("change", "told"), [
    ({"schema": "exoactor-buses/2"}, "exoactor-buses/1"),
    ({"robot": "no_such"}, "no_such.json"),
    ({"buses": []}, "at least one bus"),
    ({"watchdog_s": 0}, "0.01"),
    ({"watchdog_s": True}, "watchdog_s"),
    ({"sensors": 1}, "unknown"),
    ({"estop": {"port": "x", "protocol": "smoke"}}, "button"),
    ({"imu": {"port": "x", "protocol": "smoke"}}, "imu.protocol"),
])
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(BridgeError, match=told):
        read_wiring(small_wiring(tmp_path, **change))


@pytest.mark.parametrize(("change", "told"), [
    ({"joint": "elbow"}, "joint_0, joint_1, joint_2"), ({"joint": "joint_1"}, "twice: joint_1; on no bus: joint_0"),
    ({"id": 2}, r"\[2\] twice"), ({"id": 0x800}, "2047"), ({"sign": 0}, "1 or -1"), ({"sign": 2}, "to 1"),
    ({"gear": 0}, "gear"), ({"gear": float("nan")}, "gear"), ({"offset_rad": "x"}, "offset_rad"),
    ({"kp": 1}, "unknown"),
])
def test_a_drive_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    data = json.loads(small_wiring(tmp_path).read_text())
    data["buses"][0]["drives"][0].update(change)
    path = tmp_path / "wiring.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BridgeError, match=told):
        read_wiring(path)


@pytest.mark.parametrize(("port", "protocol", "told"), [
    ("can:socketcan:can0", "damiao-slcan", "not for damiao-slcan"), ("port_a", "damiao-socketcan", "for damiao-socket"),
    ("can:socketcan:can0", "damiao-socketcan", "")])
def test_a_can_interface_and_its_protocols_belong_together(tmp_path: Path, port: str, protocol: str, told: str) -> None:
    data = json.loads(small_wiring(tmp_path).read_text())
    data["buses"][0].update(port=port, protocol=protocol)
    path = tmp_path / "wiring.json"
    path.write_text(json.dumps(data))
    if told:
        with pytest.raises(BridgeError, match=told):
            read_wiring(path)
        return
    wiring = read_wiring(path)
    assert wiring.buses[0].port == port
    with pytest.raises(BridgeError, match="serial ports"):
        EmulatedRobot(wiring)


def test_one_port_cannot_be_two_buses(tmp_path: Path) -> None:
    data = json.loads(small_wiring(tmp_path).read_text())
    first = data["buses"][0]
    data["buses"] = [{**first, "drives": first["drives"][:1]}, {**first, "drives": first["drives"][1:]}]
    path = tmp_path / "wiring.json"
    path.write_text(json.dumps(data))
    with pytest.raises(BridgeError, match="port_a twice"):
        read_wiring(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wiring.json"
    for text in (b"", b"[1]", b"\xff", b"{" * 5000):
        path.write_bytes(text)
        with pytest.raises(BridgeError, match="wiring file"):
            read_wiring(path)


@pytest.mark.parametrize("protocol", [name for name, row in PROTOCOLS.items() if row.is_serial and name in MODELS])
def test_a_protocol_s_two_ends_understand_each_other(protocol: str) -> None:
    drives = [Drive(0, 1, MODELS[protocol], name="a"), Drive(1, 2, MODELS[protocol], name="b")]
    motors = EmulatedMotors([Motor(), Motor()])
    motors.q[:] = 0.5, -0.25
    near, far = make_language(protocol, drives), make_far_end(protocol, drives, motors, [0, 1])
    block = np.zeros((2, 5))
    for question in near.ask(block):
        near.hear(far.feed(question), 7)
    np.testing.assert_allclose(near.states.q, motors.q, atol=1e-3)
    assert near.states.answers.tolist() == [1, 1] and not near.states.is_driving.any()


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BridgeError, match="damiao-slcan"):
        make_language("morse", [])


def test_the_adapter_s_far_side_reads_what_the_near_side_packs() -> None:
    near, far = DamiaoLink(), FarDamiaoLink()
    ids, data = np.array([1, 0x123, 0x7FF], np.uint32), np.arange(24, dtype=np.uint8).reshape(3, 8)
    there = far.feed(b"\x55\x00" + near.pack(ids, data))
    np.testing.assert_array_equal(there.ids, ids)
    np.testing.assert_array_equal(there.data, data)
    packed = far.pack(ids, data)
    for pieces in ([packed], [packed[:5], packed[5:20], packed[20:]], [b"\xaa\x00" + packed]):
        parts = [near.feed(piece) for piece in pieces]
        np.testing.assert_array_equal(np.concatenate([part.ids for part in parts]), ids)
        np.testing.assert_array_equal(np.concatenate([part.data for part in parts]), data)


def test_a_port_is_found_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    list_ports = pytest.importorskip("serial.tools.list_ports", reason="missing dependency: pyserial")
    there = [SimpleNamespace(device="/dev/ttyACM3", vid=0x0483, pid=0x5740, serial_number="A1"),
             SimpleNamespace(device="/dev/ttyACM4", vid=0x0483, pid=0x5740, serial_number="A2"),
             SimpleNamespace(device="/dev/ttyS0", vid=None, pid=None, serial_number=None)]
    monkeypatch.setattr(list_ports, "comports", lambda: there)
    assert find_port("usb:0483:5740:A2") == "/dev/ttyACM4" and find_port("/dev/ttyUSB0") == "/dev/ttyUSB0"
    with pytest.raises(BridgeError, match="usb:0483:5740:A1"):
        find_port("usb:0483:5740:A3")
    with pytest.raises(BridgeError, match="hexadecimal"):
        find_port("usb:xyz")
