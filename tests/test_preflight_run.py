"""What a run makes of its preflight, and preflights of real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firmware_bridge.remote import button_mask
from firmware_bridge.sim_options import parse_press
from runtime.calibration_file import write_calibration
from runtime.errors import Refused
from runtime.preflight import Check
from runtime.run_command import _preflight
from tests.live_run import LiveRun
from tests.preflight_lines import run_settings
from tests.run_processes import REAL, on_a_fit_computer, simulated_robot, words
from tests.wire_observer import WireObserver

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).resolve().parents[1]
LIVE_DOMAIN = 118

LINES = {
    "red": Check("a", False, "1", "2", "mend a"),
    "advice": Check("b", False, "3", "4", "look at b", required=False),
    "good": Check("c", True, "5", "6", ""),
}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """What the list gives, to be filled."""
    lines: list[Check] = []
    monkeypatch.setattr("runtime.run_command.list_for_run", lambda settings, manifest: iter(lines))
    return lines


ADMITTED: Any = SimpleNamespace(manifest=None)


def test_a_run_refuses_on_a_red_line_and_keeps_the_list(tmp_path: Path, listed: list[Check]) -> None:
    listed.extend(LINES.values())
    with pytest.raises(Refused, match="mend a"):
        _preflight(run_settings(tmp_path), ADMITTED)
    written = json.loads((tmp_path / "preflight.json").read_text(encoding="utf-8"))
    assert written == [check.as_dict() for check in LINES.values()]


def test_a_dry_run_goes_on_and_says_it(
    tmp_path: Path, listed: list[Check], capsys: pytest.CaptureFixture[str]
) -> None:
    listed.extend(LINES.values())
    warnings = _preflight(run_settings(tmp_path, dry_run=True), ADMITTED)
    assert len(warnings) == 2 and "mend a" in warnings[0] and "look at b" in warnings[1]
    assert capsys.readouterr().err.count("WARNING: preflight") == 2


def test_a_simulated_run_is_not_told_advice_but_refuses_on_red(tmp_path: Path, listed: list[Check]) -> None:
    listed.append(LINES["advice"])
    assert _preflight(run_settings(tmp_path, target="sim"), ADMITTED) == []
    listed.append(LINES["red"])
    with pytest.raises(Refused):
        _preflight(run_settings(tmp_path, target="sim"), ADMITTED)


@pytest.mark.parametrize(
    ("text", "start_s"), [("8,L2+B", 8.0), ("0,L2+B", 0.0), ("never,L2+B", float("inf"))]
)
def test_a_simulated_remote_is_pressed_at_a_time_or_by_a_signal(text: str, start_s: float) -> None:
    assert parse_press(text) == (start_s, button_mask(["L2", "B"]))


# --- For real ---------------------------------------------------------------------------------------------------------


def checked(*words: object) -> SimpleNamespace:
    done = subprocess.run(
        [sys.executable, "-m", "exoactor", "check", *map(str, words), "--json"], cwd=ROOT, capture_output=True,
        text=True, timeout=120, check=False,
    )
    assert done.stdout, done.stderr
    return SimpleNamespace(code=done.returncode, lines={line["check"]: line for line in json.loads(done.stdout)})


def test_a_simulated_robot_is_green_and_its_remote_really_stops() -> None:
    result = checked("--robot", "sim", "--domain", LIVE_DOMAIN)
    assert all(set(line) == {"check", "ok", "measured", "limit", "what_to_do", "required"}
               for line in result.lines.values())
    red = [line for line in result.lines.values() if line["required"] and not line["ok"]]
    assert (result.code, red) == (0, [])
    assert "REMOTE_STOP after" in result.lines["remote pressed"]["measured"]
    assert result.lines["motion service"]["measured"] == "released"
    assert result.lines["battery"]["measured"] == "80 %"
    assert "from the pelvis'" in result.lines["torso IMU"]["measured"]


def test_a_check_looks_at_joints_by_their_calibration(tmp_path: Path) -> None:
    """A file that is wrong for this robot by half a radian at the knee."""
    path = tmp_path / "cal.json"
    write_calibration(path, "g1_29dof", "sim", {"left_knee_joint": (0.45, 0.45)}, created=datetime.now(timezone.utc),
                      valid_days=1)
    result = checked("--robot", "sim", "--domain", LIVE_DOMAIN, "--calibration", str(path))
    assert "left_knee_joint -0.4" in result.lines["joints within range"]["measured"]


def test_a_robot_whose_motion_service_is_active_is_red() -> None:
    domain = LIVE_DOMAIN - 1
    words = [sys.executable, "-m", "exoactor", "sim", "--domain", str(domain), "--motion-service", "ai",
             "--press", "0,L2+B"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sim:
        try:
            assert sim.stdout is not None and "ready" in sim.stdout.readline()
            result = checked("--robot", "dds", "--domain", domain)
        finally:
            sim.terminate()
    red = {name for name, line in result.lines.items() if line["required"] and not line["ok"]}
    assert result.code == 2
    assert red == {"motion service", "stop combination released"}
    assert "'ai' is active" in result.lines["motion service"]["measured"]


@on_a_fit_computer
def test_no_robot_is_armed_whose_motion_service_is_active(tmp_path: Path) -> None:
    with (
        simulated_robot(LIVE_DOMAIN - 2, "--motion-service", "ai"),
        WireObserver(LIVE_DOMAIN - 2, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(LIVE_DOMAIN - 2, *REAL)) as run,
    ):
        assert run.finish() == 2
        wire.stop()
    assert "motion service: expected released, found 'ai' is active" in run.errors
    assert "Type MOVE" not in run.errors and run.report["refusal"]["what"] == "motion service"
    assert wire.writers == [] and len(wire.frames) == 0
