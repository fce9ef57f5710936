"""Lines of a preflight, as its tests look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.preflight import Check
from runtime.preflight_machine import Interface, Machine
from runtime.settings import RunSettings

GOOD_MACHINE = Machine(
    python=(3, 10, 0), has_fifo=True, may_lock=True, cores=2, shared_free=64 << 20, disk_free=2 << 30,
    wall_behind_s=0.0, governors=("performance",), slowed=(), interface=Interface("eth0", True, False),
)


def of(checks: list[Check], name: str) -> Check:
    found = [check for check in checks if check.check == name]
    assert len(found) == 1, [check.check for check in checks]
    return found[0]


def assert_whole(checks: list[Check]) -> None:
    """Each line says what, how much and what to do, and no two are of one name."""
    names = [check.check for check in checks]
    assert len(set(names)) == len(names)
    for check in checks:
        assert check.measured and check.limit
        assert check.ok or check.what_to_do


def run_settings(out: Path, **change: Any) -> RunSettings:
    return RunSettings(
        controller="twist2", robot="", model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None,
        **{"target": "g1", "domain": 0, "interface": "eth0", "peers": (), "out": str(out), **change},
    )
