"""A walk with wrong zeros and a tilted IMU, by the commands as typed: raw, calibrated, and the perfect robot's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exoactor import main
from tests.acceptance_calibration.figures import Asked, Check, Measured
from tests.acceptance_calibration.hidden import NOISE

ASKED: dict[str, Asked] = {}
JOINTS = ("left_hip_roll_joint", "left_knee_joint", "right_knee_joint", "left_ankle_pitch_joint",
          "right_ankle_pitch_joint", "right_elbow_joint")
OFFSET_RAD, TILT_RAD = 0.08, float(np.radians(4))
WITHIN = 1.1
CLIP, DURATION_S = "walk", 12


def trial(seed: int, folder: Path) -> Iterator[Measured | Check]:
    """0.08 rad on six joints, signs from the seed, and 4 degrees of the IMU forwards or backwards."""
    random = np.random.default_rng(3000 + seed)
    signs = random.choice([-1.0, 1.0], len(JOINTS) + 1)
    half = signs[-1] * TILT_RAD / 2
    truth = folder / "truth.json"
    truth.write_text(json.dumps({
        "schema": "exoactor-truth/1", "seed": seed, "noise": {**NOISE, "tau_n_m": 0.05},
        "joints": {name: {"encoder_offset_rad": OFFSET_RAD * sign}
                   for name, sign in zip(JOINTS, signs[:-1].tolist(), strict=True)},
        "imu": {"mounting_wxyz": [float(np.cos(half)), 0.0, float(np.sin(half)), 0.0], "gyro_noise_rad_s": 0.003,
                "accel_noise_m_s2": 0.03}}))
    hidden, kept = ["--truth", str(truth)], str(folder / "cal.json")
    for routine, words in (("joint-zero", ["--joints", ",".join(JOINTS)]), ("imu", [])):
        code = main(["calibrate", routine, *words, *hidden, "--file", kept, "--yes", "--out", str(folder / routine)])
        report = json.loads((folder / routine / "report.json").read_text("utf-8"))
        bad = [f"{row['name']} {row['measured']}" for row in report.get("verdicts", []) if not row["ok"]]
        why = f"{report['outcome']} {report['stopped']} {'; '.join(bad)}"
        yield Check(f"{routine} writes the file", code == 0, why)
    errors = {}
    for name, words in (("perfect", []), ("raw", hidden), ("calibrated", [*hidden, "--calibration", kept])):
        errors[name] = _walked(folder / name, words)
        print(f"end to end, seed {seed}: {name} {errors[name]}", flush=True)
    perfect, raw, calibrated = (errors[name] for name in ("perfect", "raw", "calibrated"))
    yield Check("the perfect robot walks", not perfect[0], str(perfect))
    yield Check("without calibration it falls or tracks badly", raw[0] or raw[1] > WITHIN * perfect[1], str(errors))
    yield Check("calibrated it is within 10 % of the perfect robot's joint error",
                not calibrated[0] and calibrated[1] <= WITHIN * perfect[1], str(errors))


def _walked(out: Path, words: list[str]) -> tuple[bool, float]:
    """Whether it fell, and its mean joint error, rad."""
    main(["run", "--lockstep", "--clip", CLIP, "--duration", str(DURATION_S), "--out", str(out), *words])
    report: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    tracking = report.get("tracking") or {}
    return bool(report["fell"]), float(tracking.get("joint_error_rad_mean", float("nan")))
