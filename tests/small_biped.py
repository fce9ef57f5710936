"""A biped of primitives that stands by itself: a plant of other motor counts, named like Berkeley Humanoid Lite.

Light and with broad feet, so that position servos at the default pose hold it upright without any policy. Its base
frame lies between the soles, as that robot's does, and its actuators stand in no particular order.
"""

from __future__ import annotations

from pathlib import Path

SIDES = ("left", "right")
ARM_JOINTS = tuple(
    f"arm_{side}_{joint}_joint" for side in SIDES
    for joint in ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow_pitch", "elbow_roll")
)
LEG_JOINTS = tuple(
    f"leg_{side}_{joint}_joint" for side in SIDES
    for joint in ("hip_roll", "hip_yaw", "hip_pitch", "knee_pitch", "ankle_pitch", "ankle_roll")
)
_AXES = {"roll": "1 0 0", "pitch": "0 1 0", "yaw": "0 0 1"}


def _chain(links: list[tuple[str, str, str]], indent: int) -> str:
    """Nested bodies: (joint, position in the one before, geoms)."""
    (name, place, geoms), *rest = links
    pad = " " * indent
    axis = _AXES[name.removesuffix("_joint").rpartition("_")[2]]
    inner = _chain(rest, indent + 1) if rest else ""
    return (f'{pad}<body name="{name.removesuffix("_joint")}" pos="{place}">\n'
            f'{pad} <joint name="{name}" axis="{axis}" range="-2.5 2.5" armature="0.005"/>\n{pad} {geoms}\n'
            f"{inner}{pad}</body>\n")


def _leg(side: str) -> str:
    y = 0.08 if side == "left" else -0.08
    small = '<geom type="sphere" size="0.02" mass="0.1" contype="0" conaffinity="0"/>'
    thigh = '<geom type="capsule" fromto="0 0 0 0 0 -0.25" size="0.03" mass="0.3" contype="0" conaffinity="0"/>'
    foot = '<geom type="box" pos="0.02 0 -0.03" size="0.12 0.06 0.02" mass="0.4" friction="1"/>'
    places = [f"0 {y} 0.55", "0 0 0", "0 0 0", "0 0 -0.25", "0 0 -0.25", "0 0 0"]
    geoms = [small, small, thigh, thigh, small, foot]
    names = [joint for joint in LEG_JOINTS if f"_{side}_" in joint]
    return _chain(list(zip(names, places, geoms, strict=True)), 3)


def _arm(side: str) -> str:
    y = 0.15 if side == "left" else -0.15
    small = '<geom type="sphere" size="0.02" mass="0.02" contype="0" conaffinity="0"/>'
    names = [joint for joint in ARM_JOINTS if f"_{side}_" in joint]
    places = [f"0 {y} 0.7", "0 0 0", "0 0 -0.1", "0 0 -0.1", "0 0 -0.05"]
    return _chain([(name, place, small) for name, place in zip(names, places, strict=True)], 3)


def write_biped(path: Path, *, arms: bool = False, actuators: str = "shuffled", limits: bool = True) -> Path:
    """The plant.

    Args:
        arms: 22 joints instead of 12.
        actuators: "shuffled", or "none" for a plant that drives nothing.
        limits: whether the actuators have torque limits.
    """
    joints = (ARM_JOINTS if arms else ()) + LEG_JOINTS
    shuffled = sorted(joints, key=lambda name: name[::-1])
    force = ' forcerange="-20 20"' if limits else ""
    motors = "".join(f'  <motor name="m{i}" joint="{joint}" gear="2"{force}/>\n' for i, joint in enumerate(shuffled))
    section = f" <actuator>\n{motors} </actuator>\n" if actuators == "shuffled" else ""
    limbs = "".join(_leg(side) + (_arm(side) if arms else "") for side in SIDES)
    path.write_text(f"""<mujoco model="small biped">
 <compiler angle="radian" autolimits="true"/>
 <option timestep="0.002"/>
 <worldbody>
  <geom name="floor" type="plane" size="5 5 0.1" friction="1"/>
  <body name="base">
   <freejoint name="root"/>
   <geom type="box" pos="0 0 0.6" size="0.05 0.06 0.05" mass="1" contype="0" conaffinity="0"/>
{limbs}  </body>
 </worldbody>
{section}</mujoco>
""", encoding="utf-8")
    return path
