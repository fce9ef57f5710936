"""The file that says what hangs where: serial ports, the drives on each, the IMU and the stop button of one robot.

Positions go from drive to joint by sign, gear and offset; which joints there are says the robot's own table
(`motor_table.py`). Relative paths count from the file's folder, `~` is the user's home. docs/serial.md has the keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.can_port import CAN
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import ESTOP_PROTOCOLS, HAND_PROTOCOLS, IMU_PROTOCOLS, MCU, PROTOCOLS
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_table import MotorTable, read_motor_table
from firmware_bridge.serial_port import USB

SCHEMA = "exoactor-buses/1"
SHIPPED_ROBOTS = Path(__file__).parents[1] / "runtime" / "robots"
SHIPPED_WIRINGS = Path(__file__).with_name("wirings")
WATCHDOG_S = (0.01, 1.0)
LONGEST_OFFSET_RAD, GEARS = 13.0, (0.01, 200.0)


@dataclass(frozen=True)
class BusWiring:
    """One port of drives.

    Attributes:
        port: a path, or `usb:VID:PID:SERIAL` (hex, hex, text), or `can:INTERFACE:CHANNEL`.
        baud: None for the protocol's usual one.
        drives: `Drive.motor` is the slot in the robot's table.
        without_watchdog: whoever wrote the file knows that these drives go on by themselves when nobody speaks to them.
    """

    port: str
    protocol: str
    baud: int | None
    drives: tuple[Drive, ...]
    without_watchdog: bool = False


@dataclass(frozen=True)
class ImuWiring:
    """The base's IMU; `mounting_wxyz` turns what it measures into the base's axes."""

    port: str
    protocol: str
    baud: int | None
    mounting_wxyz: tuple[float, float, float, float]


@dataclass(frozen=True)
class ButtonWiring:
    """A stop button on a port of its own."""

    port: str
    protocol: str


@dataclass(frozen=True)
class HandsWiring:
    """A pair of hands, each on a port of its own; an empty one is a missing hand. `protocol` is the hands' name too."""

    protocol: str
    left: str
    right: str


@dataclass(frozen=True)
class Wiring:
    """One robot's serial side.

    Attributes:
        robot_file: of its joint table.
        watchdog_s: after which silence each drive is to let go by itself.
    """

    path: Path
    robot_file: Path
    table: MotorTable
    watchdog_s: float
    buses: tuple[BusWiring, ...]
    imu: ImuWiring | None
    estop: ButtonWiring | None
    hands: HandsWiring | None = None

    @property
    def motors(self) -> int:
        """Slots of the robot's table."""
        return len(self.table.joints)


def wiring_path(name_or_file: str) -> Path:
    """A shipped wiring by name, or a file."""
    return Path(name_or_file) if name_or_file.endswith(".json") else SHIPPED_WIRINGS / f"{name_or_file}.json"


def read_wiring(path: Path) -> Wiring:
    """A wiring file, checked.

    Raises:
        BridgeError: no such file, unknown or missing keys, a joint that the robot has not or has on no bus, two drives
            of one id on a bus, an unknown protocol.
    """
    try:
        data = json.loads(path.read_bytes().decode("utf-8"))
        return _wiring(path, data)
    except (OSError, ValueError, RecursionError) as error:
        raise BridgeError(f"wiring file {path.name}", expected=f"a readable JSON file, schema {SCHEMA}",
                          found=f"{type(error).__name__}: {str(error)[:200]}", what_to_do="correct the file") from error


def _refuse(key: str, expected: str, found: object) -> BridgeError:
    return BridgeError(f"wiring file, {key}", expected=expected, found=str(found)[:200],
                       what_to_do="correct the wiring file (docs/serial.md)")


def _keys(key: str, found: Any, needed: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _refuse(key, "an object", found)
    unknown, missing = sorted(set(found) - needed - optional), sorted(needed - set(found))
    if unknown or missing:
        raise _refuse(key, f"keys {', '.join(sorted(needed))} (optional {', '.join(sorted(optional)) or 'none'})",
                      f"unknown {unknown}, missing {missing}")
    return found


def _number(key: str, found: Any, low: float, high: float) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not low <= found <= high:
        raise _refuse(key, f"a number from {low} to {high}", found)
    return float(found)


def _whole(key: str, found: Any, low: int, high: int) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        raise _refuse(key, f"a whole number from {low} to {high}", found)
    return found


def _text(key: str, found: Any) -> str:
    if not isinstance(found, str) or not found or "\0" in found:
        raise _refuse(key, "a text", found)
    return found


def _one_of(key: str, found: Any, names: Any) -> str:
    if not isinstance(found, str) or found not in names:
        raise _refuse(key, f"one of {', '.join(names)}", found)
    return found


def _port(key: str, found: Any, folder: Path) -> str:
    if isinstance(found, dict):
        parts = _keys(key, found, {"vid", "pid", "serial"}, set())
        vid, pid = (_whole(f"{key}.{name}", parts[name], 0, 0xFFFF) for name in ("vid", "pid"))
        return f"{USB}{vid:04x}:{pid:04x}:{_text(f'{key}.serial', parts['serial'])}"
    text = _text(key, found)
    try:
        return text if text.startswith((USB, CAN)) else str(folder / Path(text).expanduser())
    except RuntimeError:
        raise _refuse(key, "a path; `~` needs a home folder", text) from None


def _baud(key: str, found: dict[str, Any]) -> int | None:
    return _whole(f"{key}.baud", found["baud"], 1200, 20_000_000) if "baud" in found else None


def _wiring(path: Path, data: Any) -> Wiring:
    _keys("keys", data, {"schema", "robot", "buses"}, {"watchdog_s", "imu", "estop", "hands", "description"})
    if data["schema"] != SCHEMA:
        raise _refuse("schema", SCHEMA, data["schema"])
    folder, name = path.absolute().parent, _text("robot", data["robot"])
    robot_file = folder / name if name.endswith(".json") else SHIPPED_ROBOTS / f"{name}.json"
    table = read_motor_table(robot_file)
    if not isinstance(data["buses"], list) or not data["buses"]:
        raise _refuse("buses", "a list of at least one bus", data["buses"])
    buses = tuple(_bus(f"buses[{at}]", bus, folder, table) for at, bus in enumerate(data["buses"]))
    imu, estop, hands = data.get("imu"), data.get("estop"), data.get("hands")
    wiring = Wiring(
        path, robot_file, table, _number("watchdog_s", data.get("watchdog_s", 0.05), *WATCHDOG_S), buses,
        None if imu is None else _imu(imu, folder), None if estop is None else _estop(estop, folder),
        None if hands is None else _hands(hands, folder),
    )
    _refuse_twice_or_never(wiring)
    return wiring


def _bus(key: str, found: Any, folder: Path, table: MotorTable) -> BusWiring:
    bus = _keys(key, found, {"port", "protocol", "drives"}, {"baud", "without_watchdog"})
    if not isinstance(bus["drives"], list) or not bus["drives"]:
        raise _refuse(f"{key}.drives", "a list of at least one drive", bus["drives"])
    drives = tuple(_drive(f"{key}.drives[{at}]", drive, table) for at, drive in enumerate(bus["drives"]))
    ids = [drive.id for drive in drives]
    twice = sorted({number for number in ids if ids.count(number) > 1})
    if twice:
        raise _refuse(f"{key}.drives", "every id once on a bus", f"{twice} twice")
    port = _port(f"{key}.port", bus["port"], folder)
    protocol = _one_of(f"{key}.protocol", bus["protocol"], PROTOCOLS)
    if PROTOCOLS[protocol].is_serial == port.startswith(CAN):
        raise _refuse(f"{key}.port", f"can:INTERFACE:CHANNEL for the -socketcan protocols alone, not for {protocol}"
                      if port.startswith(CAN) else f"can:INTERFACE:CHANNEL for {protocol}", bus["port"])
    without = bus.get("without_watchdog", False)
    if not isinstance(without, bool):
        raise _refuse(f"{key}.without_watchdog", "true or false", without)
    return BusWiring(port, protocol, _baud(key, bus), drives, without)


def _drive(key: str, found: Any, table: MotorTable) -> Drive:
    drive = _keys(key, found, {"joint", "id", "model"}, {"sign", "gear", "offset_rad", "answer_id"})
    joint = _one_of(f"{key}.joint", drive["joint"], [name for name in table.joints if name])
    sign = _whole(f"{key}.sign", drive.get("sign", 1), -1, 1)
    if sign == 0:
        raise _refuse(f"{key}.sign", "1 or -1", sign)
    return Drive(
        motor=table.joints.index(joint), id=_whole(f"{key}.id", drive["id"], 0, 0x7FF),
        model=_text(f"{key}.model", drive["model"]), sign=sign,
        gear=_number(f"{key}.gear", drive.get("gear", 1.0), *GEARS),
        offset_rad=_number(f"{key}.offset_rad", drive.get("offset_rad", 0.0), -LONGEST_OFFSET_RAD, LONGEST_OFFSET_RAD),
        answer_id=_whole(f"{key}.answer_id", drive.get("answer_id", 0), 0, 0x7FF), name=joint,
    )


def _imu(found: Any, folder: Path) -> ImuWiring:
    imu = _keys("imu", found, {"port", "protocol"}, {"baud", "mounting_wxyz"})
    mounting = imu.get("mounting_wxyz", [1, 0, 0, 0])
    if not isinstance(mounting, list) or len(mounting) != 4:
        raise _refuse("imu.mounting_wxyz", "[w, x, y, z]", mounting)
    w, x, y, z = (_number("imu.mounting_wxyz", part, -1.0, 1.0) for part in mounting)
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if abs(norm - 1) > 1e-3:
        raise _refuse("imu.mounting_wxyz", "a unit quaternion", f"norm {norm:.4f}")
    return ImuWiring(_port("imu.port", imu["port"], folder), _one_of("imu.protocol", imu["protocol"], IMU_PROTOCOLS),
                     _baud("imu", imu), (w / norm, x / norm, y / norm, z / norm))


def _estop(found: Any, folder: Path) -> ButtonWiring:
    estop = _keys("estop", found, {"port", "protocol"}, set())
    return ButtonWiring(_port("estop.port", estop["port"], folder),
                        _one_of("estop.protocol", estop["protocol"], ESTOP_PROTOCOLS))


def _hands(found: Any, folder: Path) -> HandsWiring:
    hands = _keys("hands", found, {"protocol"}, {"left", "right"})
    if len(hands) < 2:
        raise _refuse("hands", "a port of at least one, left or right", "none")
    left, right = (_port(f"hands.{side}", hands[side], folder) if side in hands else "" for side in ("left", "right"))
    return HandsWiring(_one_of("hands.protocol", hands["protocol"], HAND_PROTOCOLS), left, right)


def _ports(wiring: Wiring) -> Iterator[str]:
    yield from (bus.port for bus in wiring.buses)
    if wiring.imu is not None and wiring.imu.protocol != MCU:
        yield wiring.imu.port
    if wiring.estop is not None:
        yield wiring.estop.port
    if wiring.hands is not None:
        yield from filter(None, (wiring.hands.left, wiring.hands.right))


def _refuse_twice_or_never(wiring: Wiring) -> None:
    joints = [drive.name for bus in wiring.buses for drive in bus.drives]
    twice = sorted({name for name in joints if joints.count(name) > 1})
    never = [name for name in wiring.table.joints if name and name not in joints]
    if twice or never:
        raise _refuse("drives", f"each joint of {wiring.table.robot} on one drive",
                      f"twice: {', '.join(twice) or 'none'}; on no bus: {', '.join(never) or 'none'}")
    imu = wiring.imu
    if imu is not None and imu.protocol == MCU and (imu.port, MCU) not in [(b.port, b.protocol) for b in wiring.buses]:
        raise _refuse("imu.port", "the port of the microcontroller whose IMU it is", imu.port)
    ports = list(_ports(wiring))
    shared = sorted({port for port in ports if ports.count(port) > 1})
    if shared:
        raise _refuse("ports", "every port once", f"{', '.join(shared)} twice")
