"""What else hangs on a robot's serial ports, by its wiring file: the stop button of a run, the IMU of the base."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.drives.mcu_bus import McuBus
from firmware_bridge.drives.protocols import make_language
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_imu import BaseImu, SerialImu, make_base_imu
from firmware_bridge.wiring import read_wiring
from runtime.errors import Refused
from runtime.estop_sources import ButtonStop, parse_estop
from runtime.operator_options import add_operator_options, operator_settings, with_wired_button
from tests.test_wiring import small_wiring

BUTTON = {"port": "button", "protocol": "button"}


def settings(robot: Path, *words: str, lockstep: bool = False) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_operator_options(parser.add_argument_group())
    args = parser.parse_args(words)
    args.lockstep, args.robot = lockstep, str(robot)
    return operator_settings(args)


def test_the_button_of_the_wiring_file_is_a_stop_of_the_run(tmp_path: Path) -> None:
    path = small_wiring(tmp_path, estop=BUTTON)
    (spec,) = settings(path)["estops"]
    assert parse_estop(spec).kind == "button" and parse_estop(spec).where == str(tmp_path / "button")


def test_it_stands_beside_those_that_were_typed_and_once(tmp_path: Path) -> None:
    path, same = small_wiring(tmp_path, estop=BUTTON), f"button:{tmp_path / 'button'}"
    assert settings(path, "--estop", "network:127.0.0.1:5580")["estops"] == ("network:127.0.0.1:5580", same)
    assert settings(path, "--estop", same)["estops"] == (same,)


def test_a_file_without_a_button_and_other_robots_have_none(tmp_path: Path) -> None:
    assert with_wired_button(str(small_wiring(tmp_path)), ()) == ()
    assert with_wired_button("g1", ("keyboard",)) == ("keyboard",)


def test_a_wired_button_cannot_stop_simulated_time(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--lockstep"):
        settings(small_wiring(tmp_path, estop=BUTTON), lockstep=True)


def test_the_wired_button_stops_when_it_is_pressed_or_cut_off(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "button")
    (spec,) = settings(small_wiring(tmp_path, estop=BUTTON))["estops"]
    stop = ButtonStop(str(parse_estop(spec).where))
    board = os.open(tmp_path / "button", os.O_WRONLY)
    now = time.monotonic_ns()
    assert stop.poll(now) == (False, True)
    os.write(board, b"RUN 1\nRUN 2\n")
    assert stop.poll(now) == (False, False)
    os.write(board, b"STOP\n")
    assert stop.poll(now) == (True, False)
    os.close(board)
    assert stop.poll(now + 10**9) == (True, True)
    stop.close()


# --- The IMU ----------------------------------------------------------------------------------------------------------


def test_an_imu_on_a_port_of_its_own(tmp_path: Path) -> None:
    imu = {"port": "imu", "protocol": "xsens", "baud": 115_200, "mounting_wxyz": [0, 1, 0, 0]}
    wiring = read_wiring(small_wiring(tmp_path, imu=imu))
    made = make_base_imu(wiring.imu, {})
    assert isinstance(made, SerialImu) and (made.path, made.language.baud) == (str(tmp_path / "imu"), 115_200)
    assert make_base_imu(None, {}) is None


def mcu_wiring(folder: Path, imu_port: str) -> Path:
    drives = [{"joint": f"joint_{at}", "id": at, "model": "mcu"} for at in range(3)]
    return small_wiring(folder, buses=[{"port": "board", "protocol": "mcu", "drives": drives}],
                        imu={"port": imu_port, "protocol": "mcu"})


def test_an_imu_of_the_microcontroller_comes_with_its_frames(tmp_path: Path) -> None:
    wiring = read_wiring(mcu_wiring(tmp_path, "board"))
    (bus,) = wiring.buses
    language = make_language(bus.protocol, list(bus.drives), bus.baud)
    made = make_base_imu(wiring.imu, {bus.port: language})
    assert isinstance(language, McuBus) and type(made) is BaseImu and made.state is language.imu


def test_an_imu_of_a_microcontroller_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"imu\.port"):
        read_wiring(mcu_wiring(tmp_path, "elsewhere"))
