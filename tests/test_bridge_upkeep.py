"""`exoactor bridge` scan, ping, set-id, watchdog: against emulated drives, without a port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

import exoactor
from firmware_bridge import bridge_port
from firmware_bridge.bridge_command import JOBS
from firmware_bridge.drives.damiao_far_end import DamiaoFarEnd
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.maintenance import Found, Maintenance
from firmware_bridge.drives.protocols import make_far_end, make_maintenance
from firmware_bridge.drives.slcan import SlcanLink
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from tests.serial_models import MODELS, some_drives

DRIVES = [Drive(0, 1, "DM4310"), Drive(1, 2, "DM4340"), Drive(2, 20, "DM8009", answer_id=0x99)]


class FakePort:
    """A port whose far end answers at once."""

    end: Any = None
    lose = 0

    def __init__(self, path: str, baud: int) -> None:
        assert baud == 921_600

    def exchange(self, data: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        answer = self.end.feed(data)
        if answer and self.lose:
            FakePort.lose -= 1
            return False
        return bool(answer) and is_enough(answer)

    def close(self) -> None:
        """As a port."""


@pytest.fixture
def motors(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedMotors]:
    motors = EmulatedMotors([Motor() for _ in DRIVES])
    FakePort.end = DamiaoFarEnd(DRIVES, SlcanLink(), motors, [0, 1, 2])
    FakePort.lose = 0
    monkeypatch.setattr(bridge_port, "SerialPort", FakePort)
    yield motors
    assert not motors.is_enabled.any() and not motors.target.any()  # no job of these moves anything


def bridge(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = exoactor.main(["bridge", arguments[0], "--port", "X", "--protocol", "damiao-slcan", *arguments[1:],
                          "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("motors")
def test_a_scan_tells_who_is_there_and_what_each_says(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "scan")
    assert code == 0 and [drive["id"] for drive in told["found"]] == [1, 2, 20]
    assert [drive["model"] for drive in told["found"]] == ["DM3507 or DM4310", "DM4340", "DM8009"]
    assert [drive["facts"]["answers_as"] for drive in told["found"]] == [0x11, 0x12, 0x99]
    assert [drive["watchdog_s"] for drive in told["found"]] == [0, 0, 0]


def test_a_drive_with_torque_is_told_and_keeps_its_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    motors = EmulatedMotors([Motor() for _ in DRIVES])
    motors.is_enabled[1], motors.faults[2] = True, 0xB
    FakePort.end = DamiaoFarEnd(DRIVES, SlcanLink(), motors, [0, 1, 2])
    monkeypatch.setattr(bridge_port, "SerialPort", FakePort)
    found = bridge(capsys, "scan")[1]["found"]
    assert [drive["is_driving"] for drive in found] == [False, True, False]
    assert found[2]["facts"]["error"] == "transistors hot"
    code, told = bridge(capsys, "set-id", "--id", "2", "--new-id", "5", "--yes")
    assert code == 2 and told["found"] == "it has torque" and motors.is_enabled[1]


@pytest.mark.usefixtures("motors")
def test_a_scan_s_table_shows_a_watchdog_that_is_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert exoactor.main(["bridge", "scan", "--port", "X", "--protocol", "damiao-slcan", "--ids", "2"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["id", "model", "watchdog"] and line.split()[:3] == ["2", "DM4340", "OFF"]


def test_nobody_there_is_told_as_such(motors: EmulatedMotors, capsys: pytest.CaptureFixture[str]) -> None:
    motors.is_dead[:] = True
    code, told = bridge(capsys, "scan", "--ids", "1-4")
    assert code == 1 and told["found"] == [] and told["asked"] == 4


@pytest.mark.usefixtures("motors")
def test_lost_answers_are_asked_for_again(capsys: pytest.CaptureFixture[str]) -> None:
    FakePort.lose = 2
    assert [drive["id"] for drive in bridge(capsys, "scan")[1]["found"]] == [1, 2, 20]


@pytest.mark.usefixtures("motors")
def test_a_ping_counts_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "ping", "--id", "2", "--count", "20")
    assert code == 0 and (told["asked"], told["lost"]) == (20, 0) and told["round_trip_min_us"] > 0


@pytest.mark.usefixtures("motors")
def test_a_ping_of_nobody_names_those_who_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "ping", "--id", "7")
    assert code == 2 and "1, 2, 20" in told["found"]


@pytest.mark.usefixtures("motors")
def test_an_id_is_changed_for_good(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "set-id", "--id", "2", "--new-id", "5", "--yes")
    assert code == 0 and (told["was"], told["id"]) == (2, 5)
    found = bridge(capsys, "scan")[1]["found"]
    assert [drive["id"] for drive in found] == [1, 5, 20] and found[1]["facts"]["answers_as"] == 0x15


@pytest.mark.usefixtures("motors")
def test_an_id_that_is_taken_is_refused_and_a_free_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "set-id", "--id", "2", "--new-id", "1", "--yes")
    assert code == 2 and "answers already" in told["found"] and "--new-id 3" in told["what_to_do"]
    assert [drive["id"] for drive in bridge(capsys, "scan")[1]["found"]] == [1, 2, 20]


@pytest.mark.parametrize("new", ["2", "99"])
@pytest.mark.usefixtures("motors")
def test_the_same_or_an_impossible_id_is_refused(new: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bridge(capsys, "set-id", "--id", "2", "--new-id", new, "--yes")[0] == 2


@pytest.mark.usefixtures("motors")
def test_nothing_is_changed_without_a_person_or_yes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, told = bridge(capsys, "set-id", "--id", "2", "--new-id", "5")
    assert code == 2 and "--yes" in told["what_to_do"]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert bridge(capsys, "set-id", "--id", "2", "--new-id", "5")[0] == 2
    assert [drive["id"] for drive in bridge(capsys, "scan")[1]["found"]] == [1, 2, 20]
    monkeypatch.setattr("sys.stdin", Terminal("5\n"))
    assert bridge(capsys, "set-id", "--id", "2", "--new-id", "5")[0] == 0


class Terminal:
    """Somebody at a terminal who types one line."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._line


def test_a_watchdog_is_set_and_read_back(motors: EmulatedMotors, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "watchdog", "--ids", "1-2")
    assert code == 1 and told["watchdog_s"] == {"1": 0.0, "2": 0.0}
    code, told = bridge(capsys, "watchdog", "--ids", "1-2", "--seconds", "0.05")
    assert code == 0 and told["watchdog_s"] == {"1": 0.05, "2": 0.05}
    assert motors.watchdog_s.tolist() == [0.05, 0.05, 0.0]


@pytest.mark.parametrize("seconds", ["0", "0.001", "5", "nan"])
@pytest.mark.usefixtures("motors")
def test_a_watchdog_is_never_switched_off(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = bridge(capsys, "watchdog", "--ids", "1", "--seconds", seconds)
    assert code == 2 and "none is ever switched off" in told["what_to_do"]


def test_what_a_protocol_cannot_is_refused_with_what_would_work() -> None:
    class ReadOnly(Maintenance):
        baud, ids = 9600, range(1, 2)
        no_watchdog = "its hand stops with the power"

        def scan(self, exchange: Any, ids: Any) -> list[Found]:
            return []

    for change, hint in ((lambda: ReadOnly().set_id(lambda *a: True, 1, 2), "maker's own tool"),
                         (lambda: ReadOnly().set_watchdog(lambda *a: True, 1, 0.05), "stops with the power")):
        with pytest.raises(bridge_port.BridgeError, match=hint):
            change()


@pytest.mark.parametrize(("text", "ids"), [("3", [3]), ("1-3,0x10", [1, 2, 3, 16]), ("2,2,1", [1, 2])])
def test_ids_are_numbers_and_spans(text: str, ids: list[int]) -> None:
    assert bridge_port.parse_ids(text) == ids


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "4096", "1-999999999999"])
def test_what_are_no_ids_is_refused(text: str) -> None:
    with pytest.raises(bridge_port.argparse.ArgumentTypeError):
        bridge_port.parse_ids(text)


@pytest.mark.parametrize("job", JOBS)
def test_every_job_shows_its_help_with_an_example(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        exoactor.main(["bridge", job, "--help"])
    assert end.value.code == 0 and f"exoactor bridge {job} --" in capsys.readouterr().out


@pytest.mark.parametrize("protocol", MODELS)
def test_a_scan_of_every_protocol_finds_those_and_only_those_who_are_there(protocol: str) -> None:
    drives = some_drives(protocol)
    ids = [drive.id for drive in drives]
    motors = EmulatedMotors([Motor() for _ in drives])
    end, upkeep = make_far_end(protocol, drives, motors, [0, 1, 2]), make_maintenance(protocol)

    def exchange(data: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        answer = end.feed(data)
        return bool(answer) and is_enough(answer)

    found = upkeep.scan(exchange, upkeep.ids)
    assert [drive.id for drive in found] == ids
    assert upkeep.ping(exchange, ids[1]) and upkeep.scan(exchange, [ids[2]])[0].id == ids[2]
    assert all(drive.watchdog_s is None or drive.watchdog_s >= 0 for drive in found)
    assert not motors.is_enabled.any()
    json.dumps([asdict(drive) for drive in found])  # facts are plain numbers and texts
