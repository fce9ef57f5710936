"""The whole list before a run, for `exoactor check` and, without being asked, for `exoactor run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from firmware_bridge.errors import BridgeError
from runtime.manifest import Manifest
from runtime.preflight import Check, check_calibration, check_limits, refused_line
from runtime.preflight_estop import check_presses, check_remote, check_sources, press_simulated_remote
from runtime.preflight_machine import check_machine, read_machine
from runtime.preflight_pose import check_imu, check_motors, check_pose
from runtime.preflight_robot import check_link, check_peers, open_bus, profile_of, watch_robot
from runtime.robot import Robot
from runtime.settings import RunSettings

WATCHED_BY_RUN = ("dds", "g1")
"""Targets whose robot `exoactor run` watches before it starts anything; a simulated one of its own needs none of it,
and `unitree-mujoco` leaves zero most of what is looked at."""


def list_machine(settings: RunSettings, manifest: Manifest) -> Iterator[Check]:
    """This computer, the limits and the calibration."""
    machine = read_machine(Path(settings.out), settings.interface)
    yield from check_machine(machine, strict=settings.target == "g1")
    yield check_limits(manifest.robot.limits)
    yield check_calibration(settings, manifest.robot)


def list_robot(
    settings: RunSettings, robot: Robot, pose: Manifest | None = None, press: Callable[[], None] | None = None
) -> Iterator[Check]:
    """The robot on the network.

    Args:
        pose: the controller whose start pose the joints should be near; None: nobody knows where they are yet.
        press: presses a simulated robot's remote.
    """
    target = settings.target
    try:
        bus = open_bus(settings, robot)
    except BridgeError as error:
        yield refused_line(error)
        return
    try:
        watch = watch_robot(settings, robot, bus)
        where = f"domain {settings.domain}, interface {settings.interface or 'lo'}"
        is_cabled = settings.interface not in (None, "lo")  # a loopback loses nothing; what is missing was not sent
        yield from check_link(watch, where, strict=target == "g1" and is_cabled)
        if not watch.received:
            return
        yield from check_peers(watch, target)
        yield from check_imu(watch, robot)
        if pose is not None:
            yield from check_pose(watch.sample, pose)
        yield from check_motors(watch, robot, profile_of(settings).simulator_only)
        yield from check_remote(watch.sample, robot, strict=target in ("g1", "sim"))
        if press is not None:
            yield press_simulated_remote(bus, robot, press)
    finally:
        bus.close()


def list_estops(settings: RunSettings, manifest: Manifest) -> Iterator[Check]:
    """The configured emergency stops."""
    yield from check_sources(settings, manifest.robot)
    yield from check_presses(settings)


def list_for_run(settings: RunSettings, manifest: Manifest) -> Iterator[Check]:
    """What `exoactor run` looks at before it starts a process.

    The controller was admitted already, its network and golden vectors are the policy process's own first work, and the
    supervisor waits for every stop to be alive.
    """
    yield from list_machine(settings, manifest)
    yield from check_presses(settings)
    if settings.target in WATCHED_BY_RUN:
        yield from list_robot(settings, manifest.robot, manifest)


def list_for_routine(settings: RunSettings, robot: Robot) -> Iterator[Check]:
    """What `exoactor calibrate` looks at before it starts a process: as a run, but for what a routine will find out."""
    yield from check_machine(read_machine(Path(settings.out), settings.interface), strict=settings.target == "g1")
    yield from check_presses(settings)
    if settings.target in WATCHED_BY_RUN:
        yield from list_robot(settings, robot)
