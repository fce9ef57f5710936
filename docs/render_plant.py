"""Renders docs/images/g1.png from the plant: `python docs/render_plant.py [output.png]`.

Needs no display: libosmesa6 or EGL is enough. The step is posed by hand; no policy runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from firmware_bridge.picture import render, save_png  # noqa: E402  (found through the path above)

PLANT = ROOT / "firmware_bridge" / "plants" / "g1_29dof.xml"
OUTPUT = ROOT / "docs" / "images" / "g1.png"
SIZE = (960, 720)

# Joint angles of the picture in rad; all others are 0. Left foot forward and flat, right foot pushing off.
STEP_RAD = {
    "left_hip_pitch_joint": -0.42,
    "left_knee_joint": 0.42,
    "left_ankle_pitch_joint": -0.03,
    "right_hip_pitch_joint": 0.22,
    "right_knee_joint": 0.38,
    "right_ankle_pitch_joint": -0.10,
    "waist_yaw_joint": -0.10,
    "left_shoulder_pitch_joint": 0.42,
    "left_shoulder_roll_joint": 0.16,
    "left_elbow_joint": 0.75,
    "right_shoulder_pitch_joint": -0.35,
    "right_shoulder_roll_joint": -0.16,
    "right_elbow_joint": 0.25,
}


def step_pose() -> NDArray[np.float64]:
    """(36,) qpos of a walking step, lowered until the lowest sole capsule touches the floor."""
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(PLANT))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("start").id)
    data.qpos[3:7] = (np.cos(0.02), 0.0, np.sin(0.02), 0.0)
    for name, angle_rad in STEP_RAD.items():
        data.joint(name).qpos[0] = angle_rad
    mujoco.mj_kinematics(model, data)
    data.qpos[2] -= lowest_sole_m(model, data)
    return np.array(data.qpos)


def lowest_sole_m(model: object, data: object) -> float:
    """Height of the lowest point of the sole capsules above the floor."""
    heights = []
    for side in ("left", "right"):
        for k in range(1, 8):
            name = f"{side}_sole_{k}"
            radius, half_length = model.geom(name).size[:2]  # type: ignore[attr-defined]
            geom = data.geom(name)  # type: ignore[attr-defined]
            heights.append(geom.xpos[2] - half_length * abs(geom.xmat[8]) - radius)
    return float(min(heights))


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    output.parent.mkdir(parents=True, exist_ok=True)
    save_png(output, render(PLANT, step_pose(), SIZE, "track"))
    print(f"{output}: {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
