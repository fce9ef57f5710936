"""Isaac Lab's order of a robot's joints and bodies: breadth first over its tree, derived from its plant."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from firmware_bridge.kinematics import Kinematics, plant_path
from runtime.robot import JointOrder, Robot


@dataclass(frozen=True)
class TreeOrder:
    """Breadth-first names.

    Attributes:
        joints: of the robot, in Isaac Lab's order.
        bodies: the root first, then the body that each joint moves.
    """

    joints: JointOrder
    bodies: tuple[str, ...]


def tree_order(robot: Robot) -> TreeOrder:
    """The order of a robot whose plant ships under its name.

    Raises:
        BridgeError: there is no such plant.
        Refused: the plant has other joints.
    """
    return _order(robot.name, robot.order)


@lru_cache(maxsize=8)
def _order(name: str, order: JointOrder) -> TreeOrder:
    model = Kinematics(plant_path(name), ()).model
    root = int(model.jnt_bodyid[0])
    moved_by = {int(model.jnt_bodyid[joint]): str(model.joint(joint).name) for joint in range(1, model.njnt)}
    children: dict[int, list[int]] = {}
    for body in range(root + 1, model.nbody):
        children.setdefault(int(model.body_parentid[body]), []).append(body)
    row, bodies, joints = [root], [], []
    while row:
        for body in row:
            bodies.append(body)
            joints += [moved_by[body]] if body in moved_by else []
        row = [child for body in row for child in children.get(body, [])]
    names = JointOrder(tuple(joints))
    order.index_of(names)
    moving = [body for body in bodies if body == root or body in moved_by]
    return TreeOrder(names, tuple(str(model.body(body).name) for body in moving))
