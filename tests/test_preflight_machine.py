"""What a preflight says of this computer: green from good readings and red from each bad one."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.preflight_machine import (
    Interface,
    check_machine,
    read_governors,
    read_interface,
    read_machine,
    read_slowed,
)
from tests.preflight_lines import GOOD_MACHINE, assert_whole, of

BAD_MACHINES: dict[str, tuple[dict[str, Any], bool]] = {
    "python": ({"python": (3, 9, 18)}, True),
    "real-time scheduling": ({"has_fifo": False}, True),
    "locked memory": ({"may_lock": False}, True),
    "processor cores": ({"cores": 1}, True),
    "shared memory": ({"shared_free": (64 << 20) - 1}, True),
    "disk for logs": ({"disk_free": (2 << 30) - 1}, True),
    "processor governor": ({"governors": ("performance", "powersave")}, False),
    "thermal throttling": ({"slowed": ("Processor by 3",)}, False),
    "wall clock": ({"wall_behind_s": 86401.0}, False),
    "network interface": ({"interface": Interface("eth0", False, False)}, True),
    "robot network closed": ({"interface": Interface("eth0", True, True)}, True),
}


def test_a_good_computer_is_green_on_a_robot() -> None:
    checks = list(check_machine(GOOD_MACHINE, strict=True))
    assert {check.check for check in checks} == set(BAD_MACHINES)
    assert all(check.ok for check in checks)
    assert_whole(checks)


@pytest.mark.parametrize("name", BAD_MACHINES)
def test_each_lack_of_a_computer_is_one_line(name: str) -> None:
    change, is_required = BAD_MACHINES[name]
    checks = list(check_machine(replace(GOOD_MACHINE, **change), strict=True))
    assert [check.check for check in checks if not check.ok] == [name]
    assert of(checks, name).required is is_required
    assert_whole(checks)


@pytest.mark.parametrize("name", ["real-time scheduling", "locked memory", "processor cores", "network interface"])
def test_what_only_a_robot_needs_is_advice_in_simulation(name: str) -> None:
    checks = list(check_machine(replace(GOOD_MACHINE, **BAD_MACHINES[name][0]), strict=False))
    assert not of(checks, name).ok and not of(checks, name).is_red


def test_what_the_kernel_does_not_tell_is_no_fault() -> None:
    checks = list(check_machine(replace(GOOD_MACHINE, governors=(), slowed=None, interface=None), strict=True))
    assert all(check.ok for check in checks)
    assert of(checks, "thermal throttling").measured == "not told by the kernel"


def test_this_computer_can_be_read(tmp_path: Path) -> None:
    machine = read_machine(tmp_path / "not" / "yet", None, tmp_path, tmp_path)
    assert machine.cores == len(os.sched_getaffinity(0)) and machine.disk_free > 0 and machine.shared_free > 0
    assert machine.python == sys.version_info[:3] and machine.interface is None
    assert (machine.governors, machine.slowed) == ((), None)
    assert machine.wall_behind_s < 0


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="ascii")


def test_governors_and_throttling_are_read_from_sysfs(tmp_path: Path) -> None:
    for core, governor in enumerate(("schedutil", "performance", "schedutil")):
        put(tmp_path / f"devices/system/cpu/cpu{core}/cpufreq/scaling_governor", f"{governor}\n")
    assert read_governors(tmp_path) == ("performance", "schedutil")
    for number, (kind, state) in enumerate((("pwm-fan", "3"), ("Processor", "0"), ("cpu-throttle-alert", "2"))):
        put(tmp_path / f"class/thermal/cooling_device{number}/type", kind)
        put(tmp_path / f"class/thermal/cooling_device{number}/cur_state", state)
    assert read_slowed(tmp_path) == ("cpu-throttle-alert by 2",)


ROUTE = "Iface\tDestination\tGateway\tFlags\n{name}\t00000000\t0100A8C0\t0003\neth1\t007BA8C0\t00000000\t0001\n"
ROUTE6 = f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 {{flags}} {{name}}\n"


@pytest.mark.parametrize(
    ("route", "route6", "has_default"),
    [
        (ROUTE.format(name="wlan0"), "", False),
        (ROUTE.format(name="eth1"), "", True),
        ("", ROUTE6.format(flags="00450003", name="eth1"), True),
        ("", ROUTE6.format(flags="00200200", name="eth1"), False),
        ("", ROUTE6.format(flags="00450003", name="wlan0"), False),
    ],
)
def test_the_default_route_is_found(tmp_path: Path, route: str, route6: str, has_default: bool) -> None:
    put(tmp_path / "class/net/eth1/operstate", "up\n")
    put(tmp_path / "net/route", route)
    put(tmp_path / "net/ipv6_route", route6)
    assert read_interface("eth1", tmp_path, tmp_path) == Interface("eth1", True, has_default)
    assert not read_interface("eth9", tmp_path, tmp_path).is_up
