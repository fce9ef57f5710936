"""Emergency stops before a run: each source alive and released, each kind's press seen."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from runtime.errors import Refused
from runtime.manifest_reader import load_manifest
from runtime.preflight import Check
from runtime.preflight_estop import _STAND_INS, check_press, check_presses, check_sources
from runtime.robot import Robot
from runtime.settings import RunSettings

LOOKS_TO_WAKE = 3


@pytest.fixture(scope="module")
def robot() -> Robot:
    return load_manifest("twist2").robot


def settings(*estops: str) -> RunSettings:
    return RunSettings(
        controller="twist2", robot="", model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None, target="sim",
        domain=1, interface=None, peers=(), out="", estops=estops,
    )


class Stop:
    """A source that is silent for its first looks, then as told."""

    def __init__(self, pressed: bool, silent: bool) -> None:
        self._after, self._looks = (pressed, silent), 0

    def poll(self, now_ns: int) -> tuple[bool, bool]:
        self._looks += 1
        return self._after if self._looks > LOOKS_TO_WAKE else (False, True)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The operator's process as far as the check needs it: `states` of its stops, `refusal` when it cannot open."""
    made = SimpleNamespace(states=[], refusal=None, closed=0, opened=0, has_keyboard=False)

    class Sources:
        def __init__(self, settings: RunSettings, robot: Robot) -> None:
            if made.refusal:
                raise made.refusal
            self.stops = [Stop(*state) for state in made.states]
            self.keyboard = SimpleNamespace(open=self._open) if made.has_keyboard else None

        def _open(self) -> None:
            made.opened += 1

        def pump(self, now_ns: int) -> bool:
            return False

        def wait(self, timeout_s: float) -> None:
            pass

        def close(self) -> None:
            made.closed += 1

    monkeypatch.setattr("runtime.preflight_estop.Sources", Sources)
    monkeypatch.setattr("runtime.preflight_estop.SOURCES_S", 0.05)
    yield made


def test_without_sources_the_remote_is_named(robot: Robot) -> None:
    line, = check_sources(settings(), robot)
    assert line.ok and "remote alone" in line.measured
    assert list(check_presses(settings())) == []


def test_sources_that_come_alive_are_green(operator: SimpleNamespace, robot: Robot) -> None:
    operator.states, operator.has_keyboard = [(False, False)] * 2, True
    lines = list(check_sources(settings("keyboard", "gpio:x"), robot))
    assert [(line.check, line.ok, line.measured) for line in lines] == [
        ("e-stop keyboard", True, "alive, released"), ("e-stop gpio:x", True, "alive, released"),
    ]
    assert (operator.opened, operator.closed) == (1, 1)


def test_a_silent_and_a_pressed_source_are_red_each_by_name(operator: SimpleNamespace, robot: Robot) -> None:
    operator.states = [(False, True), (False, False), (True, False)]
    lines = list(check_sources(settings("network", "gamepad", "button:x"), robot))
    assert [(line.check, line.is_red, line.measured) for line in lines] == [
        ("e-stop network", True, "silent"), ("e-stop gamepad", False, "alive, released"),
        ("e-stop button:x", True, "pressed"),
    ]
    assert operator.closed == 1


def test_a_source_that_cannot_be_opened_is_red(operator: SimpleNamespace, robot: Robot) -> None:
    operator.refusal = Refused("stop button x", expected="a port", found="nothing", what_to_do="plug it in")
    line, = check_sources(settings("button:x"), robot)
    assert line == Check("stop button x", False, "nothing", "a port", "plug it in")


@pytest.mark.parametrize("kind", _STAND_INS)
def test_a_press_of_each_kind_is_seen_by_the_class_that_reads_it(kind: str) -> None:
    pytest.importorskip("runtime.estop_sources", reason="this tree has no operator's process")
    line = check_press(kind)
    assert line.ok and line.required, line


def test_every_kind_has_a_stand_in() -> None:
    sources = pytest.importorskip("runtime.estop_sources", reason="this tree has no operator's process")
    assert set(_STAND_INS) == set(sources.KINDS)
    lines = list(check_presses(settings("network", "network:127.0.0.1:5599", "button:x")))
    assert [line.check for line in lines] == ["e-stop network pressed", "e-stop button pressed"]


@pytest.mark.parametrize(
    ("before", "after"),
    [((False, False), (False, False)), ((False, True), (True, False)), ((True, False), (True, False))],
)
def test_a_stop_that_does_not_tell_is_red(
    before: tuple[bool, bool], after: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_STAND_INS, "gpio", lambda path: (before, after))
    assert check_press("gpio").is_red


def test_a_stop_whose_method_does_not_exist_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: object) -> object:
        return object().no_such_method()  # type: ignore[attr-defined]

    monkeypatch.setitem(_STAND_INS, "gpio", broken)  # type: ignore[arg-type]
    line = check_press("gpio")
    assert line.is_red and "no_such_method" in line.measured
