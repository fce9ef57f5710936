"""The units of `deploy`: systemd reads them, and every command line in them is one that the command takes."""

from __future__ import annotations

import argparse
import configparser
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from exoactor import COMMANDS

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
BINARY = "/opt/exoactor/bin/exoactor"


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(unit, encoding="ascii")
    return parser


def environment() -> dict[str, str]:
    lines = (DEPLOY / "robot.env").read_text(encoding="ascii").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def commands() -> list[tuple[str, str, list[str]]]:
    """(unit, key, words) of every command line, its variables put in."""
    found = []
    for unit in UNITS:
        for key, value in read(unit)["Service"].items():
            if key.startswith("Exec"):
                text = re.sub(r"\$\{(\w+)\}", lambda match: environment()[match[1]], value)
                found.append((unit.name, key, shlex.split(text)))
    return found


def test_there_is_a_unit_that_checks_and_one_that_runs() -> None:
    assert [unit.name for unit in UNITS] == ["exoactor-check.service", "exoactor.service"]


@pytest.mark.parametrize(("unit", "key", "words"), commands(), ids=lambda value: str(value)[:30])
def test_every_command_line_is_one_the_command_takes(unit: str, key: str, words: list[str]) -> None:
    assert words[0] == BINARY
    command = importlib.import_module(COMMANDS[words[1]][0])
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.add_arguments(parser)
    args = parser.parse_args(words[2:])
    assert (args.robot, args.interface) == ("g1", environment()["INTERFACE"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_it_without_a_complaint(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("missing dependency: systemd-analyze")
    for other in UNITS:
        text = other.read_text(encoding="ascii").replace(BINARY, "/bin/true")
        (tmp_path / other.name).write_text(text, encoding="ascii")
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "exoactor" in line]
    assert done.returncode == 0 and complaints == [], done.stderr


def test_a_run_is_never_started_again_and_damped_after_a_death() -> None:
    service = read(DEPLOY / "exoactor.service")
    assert service["Service"]["Restart"] == "no" and "Install" not in service
    assert service["Service"]["Type"] == "notify" and float(service["Service"]["WatchdogSec"]) >= 2
    assert service["Service"]["ExecStopPost"].split()[1] == "damp"
    # SIGABRT, the default, and KillMode=mixed would kill the gate without a word.
    assert service["Service"]["WatchdogSignal"] == "SIGTERM" and service["Service"]["KillMode"] == "control-group"


def test_the_check_at_boot_moves_nothing() -> None:
    words = read(DEPLOY / "exoactor-check.service")["Service"]["ExecStart"].split()
    assert words[1] == "check"
