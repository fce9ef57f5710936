"""The IMU's routine against a hidden truth, and what a run gains by its file."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from calibration import imu
from calibration.imu import Imu
from calibration.session import Order, carry_out
from exoactor import main
from runtime.calibration_file import load_calibration
from runtime.robot import load_robot
from runtime.rotation import multiply

TILT_RAD = np.radians(4)
MOUNTING = [float(np.cos(TILT_RAD / 2)), 0.0, float(np.sin(TILT_RAD / 2)), 0.0]
BIAS = [0.02, -0.01, 0.005]


@pytest.fixture
def few_attitudes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to run through; all of them take two simulated minutes."""
    monkeypatch.setattr(imu, "TILTS", imu.TILTS[:7])
    monkeypatch.setattr(imu, "HELD_OUT", imu.HELD_OUT[:1])
    monkeypatch.setattr(imu, "REST_S", 4.0)


@pytest.mark.slow
@pytest.mark.usefixtures("few_attitudes")
def test_a_tilted_biased_imu_is_found_and_a_run_with_the_file_is_as_good_as_a_perfect_one(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    noise = {"gyro_noise_rad_s": 0.003, "accel_noise_m_s2": 0.03}
    truth.write_text(json.dumps({"schema": "exoactor-truth/1", "imu": {
        "mounting_wxyz": MOUNTING, "gyro_bias_rad_s": BIAS, **noise}, "noise": {"q_rad": 1e-4, "dq_rad_s": 0.01}}))
    order = Order("g1_29dof", tmp_path / "imu", truth=str(truth), file=tmp_path / "cal.json", yes=True)
    report = carry_out(Imu(), order, lambda line: None, lambda text: True)
    assert report["outcome"] == "written", report
    file = load_calibration(tmp_path / "cal.json", load_robot("g1_29dof"), None, datetime.now(timezone.utc))
    assert file.imu is not None
    left = multiply(file.imu.mounting_wxyz, [MOUNTING[0], 0.0, -MOUNTING[2], 0.0])
    assert 2 * np.linalg.norm(left[1:]) < np.radians(0.5)
    assert file.imu.gyro_bias_rad_s == pytest.approx(BIAS, abs=0.002)
    errors = {}
    for name, words in (("perfect", []), ("raw", ["--truth", str(truth)]),
                        ("calibrated", ["--truth", str(truth), "--calibration", str(tmp_path / "cal.json")])):
        main(["run", "--lockstep", "--clip", "squat", "--duration", "4", "--out", str(tmp_path / name), *words])
        ran = json.loads((tmp_path / name / "report.json").read_text())
        errors[name] = 1.0 if ran["fell"] else ran["tracking"]["joint_error_rad_mean"]
    assert errors["calibrated"] < 1.1 * errors["perfect"]
    assert errors["calibrated"] <= errors["raw"]
