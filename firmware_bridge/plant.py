"""Any MJCF as a plant: its joints as a robot's motors, every actuator as the drives' own position servo.

What an upstream file says about its actuators (order, type, gear, gains) does not count; what it says about bodies,
joints, contacts and torque limits does. Actuators are found by the joints they drive and added where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from firmware_bridge.fixture import Fixture
from firmware_bridge.motor_table import MotorTable
from firmware_bridge.scene import Scene

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
START_KEY = "start"
GANTRY, GANTRY_S = "gantry", 0.004
"""The body a hanging robot is welded to, and the time constant of the weld."""
STIFF = [0.9999, 0.9999, 0.001, 0.5, 2]
"""How firmly welds hold (`solimp`)."""
CLEARANCE_M = 0.002
"""Between the lowest point of a hanging robot and the floor."""


@dataclass(frozen=True)
class Plant:
    """A compiled plant whose actuators are position servos.

    Attributes:
        joints: joint name of each motor slot, "" where a slot is not used.
        slot: (k,) the motor slots in use.
        actuator, qpos, dof: (k,) of the joint on each of them.
        base: body of the floating base.
    """

    model: Any
    joints: tuple[str, ...]
    slot: Index
    actuator: Index
    qpos: Index
    dof: Index
    base: int


def load_plant(
    path: Path, table: MotorTable | None = None, scene: Scene | None = None, *, hangs: bool = False,
    fixture: Fixture | None = None,
) -> Plant:
    """Compile a plant and wire its joints to a robot's motor slots.

    Args:
        table: the motors by joint name; None takes the plant's own actuators, in their order, as motors.
        scene: what stands around the robot.
        hangs: the torso, or the base of a robot without, is welded to a body that can be moved (mocap 0).
        fixture: holds two of its bodies to each other.

    Raises:
        BridgeError: it does not compile; no floating base first; joints that the robot has and the plant lacks, or the
            plant drives and the robot lacks; a motor without any torque limit.
    """
    model = compile_plant(path)
    free = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
    if not free or model.jnt_qposadr[free[0]] != 0:
        raise BridgeError("plant", expected="a floating base: the first joint a free one",
                          found=f"{len(free)} free joints, none of them first",
                          what_to_do="use a floating-base plant, the robot as its first body")
    if table is not None:
        model = _complete(path, model, table)
    if hangs or fixture is not None or (scene is not None and scene.things):
        model = _furnish(path, model, scene or Scene(), fixture, hangs=hangs)
    _refuse_other_transmissions(model)
    driven = {model.joint(int(j)).name: a for a, j in enumerate(model.actuator_trnid[:, 0])}
    names = tuple(driven) if table is None else table.joints
    if len(driven) != model.nu or not driven:
        raise BridgeError("plant", expected="one actuator a joint", found=f"{model.nu} actuators, {len(driven)} joints",
                          what_to_do="use a plant with one motor a joint")
    beyond = [name for name in driven if name not in names]
    if beyond:
        raise BridgeError("plant", expected=f"no motors but those of {table.robot if table else 'the plant'}",
                          found=f"it drives {', '.join(beyond)} as well",
                          what_to_do="give a plant of this robot with --plant FILE.xml, or choose a robot that has "
                          "these joints and hold them (`held` of the manifest, docs/controllers.md)")
    slot = np.array([i for i, name in enumerate(names) if name], np.intp)
    actuator = np.array([driven[names[i]] for i in slot], np.intp)
    joint = np.asarray(model.actuator_trnid[actuator, 0])
    _limit_torque(model, joint, actuator, None if table is None else np.array(table.effort_n_m)[slot])
    _make_servos(model)
    return Plant(model, names, slot, actuator, np.asarray(model.jnt_qposadr[joint]),
                 np.asarray(model.jnt_dofadr[joint]), int(model.jnt_bodyid[free[0]]))


def compile_plant(path: Path) -> Any:
    """An MJCF file's model.

    Raises:
        BridgeError: no such file, or it does not compile.
    """
    if not path.is_file():
        raise BridgeError("plant", expected="an MJCF file", found=str(path),
                          what_to_do="give the path of an existing .xml plant")
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise BridgeError(f"plant {path}", expected="an MJCF file that compiles", found=str(error),
                          what_to_do="correct the plant") from error


def _complete(path: Path, model: Any, table: MotorTable) -> Any:
    """The model with an actuator on every joint of the robot."""
    hinges = {model.joint(j).name for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE}
    wanted = [name for name in table.joints if name]
    missing = [name for name in wanted if name not in hinges]
    if missing:
        raise BridgeError("plant", expected=f"the joints of {table.robot}",
                          found=f"none named {', '.join(missing)}; it has {', '.join(sorted(hinges)) or 'no hinges'}",
                          what_to_do=f"give the plant of {table.robot} with --plant FILE.xml; names must be the same")
    driven = {model.joint(int(j)).name for j in model.actuator_trnid[:, 0]} if model.nu else set()
    bare = [name for name in wanted if name not in driven]
    if not bare:
        return model
    spec = mujoco.MjSpec.from_file(str(path))
    for name in bare:
        spec.add_actuator(name=f"{name} motor", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    return spec.compile()


def _furnish(path: Path, model: Any, scene: Scene, fixture: Fixture | None, *, hangs: bool) -> Any:
    """The model with a scene, a gantry and a fixture around it, its actuators as `_complete` left them."""
    spec = mujoco.MjSpec.from_file(str(path))
    there = {actuator.name for actuator in spec.actuators}
    for a in range(model.nu):
        if model.actuator(a).name not in there:
            spec.add_actuator(name=model.actuator(a).name, target=model.joint(int(model.actuator_trnid[a, 0])).name,
                              trntype=mujoco.mjtTrn.mjTRN_JOINT)
    scene.add_to(spec)
    names = [model.body(b).name for b in range(1, model.nbody)]
    if fixture is not None:
        _hold(spec, fixture, names)
    if hangs:
        spec.worldbody.add_body(name=GANTRY, mocap=True)
        weld = spec.add_equality(type=mujoco.mjtEq.mjEQ_WELD, objtype=mujoco.mjtObj.mjOBJ_BODY, name1=GANTRY,
                                 name2="torso_link" if "torso_link" in names else names[0])
        weld.data[:11] = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]  # where they are, as they are turned; torque counts as force
        weld.solref, weld.solimp = [GANTRY_S, 1], STIFF
    try:
        return spec.compile()
    except ValueError as error:
        raise BridgeError(f"plant {path} with its scene", expected="a model that compiles", found=str(error),
                          what_to_do="correct the scene") from error


def _hold(spec: Any, fixture: Fixture, names: list[str]) -> None:
    """Weld the two bodies of a fixture to each other."""
    missing = [body for body in fixture.bodies if body not in names]
    if missing:
        raise BridgeError(f"fixture {fixture.name}", expected=f"bodies {' and '.join(fixture.bodies)}",
                          found=f"no {' and no '.join(missing)}", what_to_do="this robot does not fit into it")
    weld = spec.add_equality(name=f"fixture {fixture.name}", type=mujoco.mjtEq.mjEQ_WELD,
                             objtype=mujoco.mjtObj.mjOBJ_BODY, name1=fixture.bodies[0], name2=fixture.bodies[1])
    weld.data[:11] = [0, 0, 0, *fixture.position_m, *fixture.quat_wxyz, 1]
    weld.solref, weld.solimp = [GANTRY_S, 1], STIFF


def _refuse_other_transmissions(model: Any) -> None:
    joint_kinds = [int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT)]
    others = [model.actuator(a).name for a in range(model.nu) if int(model.actuator_trntype[a]) not in joint_kinds]
    if others:
        raise BridgeError("plant", expected="actuators on joints", found=f"{', '.join(others)} on something else",
                          what_to_do="replace tendon and site actuators by joint motors")


def _limit_torque(model: Any, joint: Index, actuator: Index, effort_n_m: F64 | None) -> None:
    """One symmetric limit a joint: the smallest of what the plant says of it and the robot's own."""
    most = np.full(len(joint), np.inf)
    for i, (j, a) in enumerate(zip(joint, actuator, strict=True)):
        if model.jnt_actfrclimited[j]:
            most[i] = np.abs(model.jnt_actfrcrange[j]).max()
        gear = abs(float(model.actuator_gear[a, 0]))
        is_motor = model.actuator_biastype[a] == mujoco.mjtBias.mjBIAS_NONE
        if model.actuator_forcelimited[a]:
            most[i] = min(most[i], gear * np.abs(model.actuator_forcerange[a]).max())
        elif is_motor and model.actuator_ctrllimited[a]:
            gain = abs(float(model.actuator_gainprm[a, 0]))
            most[i] = min(most[i], gear * gain * np.abs(model.actuator_ctrlrange[a]).max())
    if effort_n_m is not None:
        most = np.minimum(most, effort_n_m)
    unlimited = [model.joint(int(j)).name for j, limit in zip(joint, most, strict=True) if not np.isfinite(limit)]
    if unlimited:
        raise BridgeError("plant", expected="a torque limit for every motor", found=f"none for {', '.join(unlimited)}",
                          what_to_do="add actuatorfrcrange or forcerange to the plant, or name the robot's file")
    model.jnt_actfrclimited[joint] = 1
    model.jnt_actfrcrange[joint] = np.stack([-most, most], axis=1)


def _make_servos(model: Any) -> None:
    """tau = ctrl - kp q - kd dq, the biases to be set with each command."""
    model.actuator_dyntype[:] = mujoco.mjtDyn.mjDYN_NONE
    model.actuator_gaintype[:] = mujoco.mjtGain.mjGAIN_FIXED
    model.actuator_biastype[:] = mujoco.mjtBias.mjBIAS_AFFINE
    model.actuator_gainprm[:] = 0
    model.actuator_gainprm[:, 0] = 1
    model.actuator_biasprm[:] = 0
    model.actuator_gear[:] = 0
    model.actuator_gear[:, 0] = 1
    model.actuator_ctrllimited[:] = 0
    model.actuator_forcelimited[:] = 0


def hanging_height(model: Any) -> float:
    """Height of the base at which the robot, joints at zero, just clears a floor at z = 0.

    Taken from a keyframe named `start` where there is one.
    """
    key = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, START_KEY)
    if key >= 0:
        return float(model.key_qpos[key, 2])
    data = mujoco.MjData(model)
    data.qpos[:7] = (0, 0, 0, 1, 0, 0, 0)
    mujoco.mj_kinematics(model, data)
    root = model.body_rootid[int(model.jnt_bodyid[0])]
    lowest = [_lowest_point(model, data, g) for g in range(model.ngeom)
              if model.body_rootid[model.geom_bodyid[g]] == root and _is_felt(model, g)]
    return CLEARANCE_M - min(lowest, default=0.0)


def _is_felt(model: Any, geom: int) -> bool:
    paired = geom in model.pair_geom1 or geom in model.pair_geom2
    return bool(model.geom_contype[geom] or model.geom_conaffinity[geom] or paired)


def _lowest_point(model: Any, data: Any, geom: int) -> float:
    """Lowest z of a geom in world."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    z, down = float(data.geom_xpos[geom, 2]), np.abs(data.geom_xmat[geom].reshape(3, 3)[2])
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return z - float(size[0])
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return z - float(size[0] + down[2] * size[1])
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return z - float(np.hypot(down[0], down[1]) * size[0] + down[2] * size[1])
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return z - float(np.linalg.norm(down * size))
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return z - float(down @ size)
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        first = int(model.mesh_vertadr[model.geom_dataid[geom]])
        corners = model.mesh_vert[first : first + int(model.mesh_vertnum[model.geom_dataid[geom]])]
        return z + float((corners @ data.geom_xmat[geom].reshape(3, 3)[2]).min())
    return z - float(model.geom_rbound[geom])


def describe_plant(path: Path, anchor: str | None = None) -> dict[str, Any]:
    """What a robot's file takes from a plant: its driven joints in the actuators' order, and where bodies hang.

    Args:
        anchor: a body whose chain from the base is wanted; None: `torso_link` where there is one.

    Returns:
        `joints`: rows of name, lower_rad, upper_rad, effort_n_m (None where the plant has no limit), armature_kg_m2;
        `bodies`: body -> rows [joint, turn_wxyz, axis].

    Raises:
        BridgeError: it does not compile, has no floating base, drives something else than hinges, or lacks the anchor.
    """
    model = compile_plant(path)
    free = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
    if not free:
        raise BridgeError("plant", expected="a floating base", found="no free joint",
                          what_to_do="use a floating-base plant, the robot as its first body")
    _refuse_other_transmissions(model)
    hinges = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    order = [int(j) for j in model.actuator_trnid[:, 0]] or hinges
    sliding = [model.joint(j).name for j in order if j not in hinges]
    if sliding:
        raise BridgeError("plant", expected="hinges", found=f"{', '.join(sliding)} of another type",
                          what_to_do="remove them: a motor here turns")
    rows = []
    for j in order:
        actuators = np.flatnonzero(model.actuator_trnid[:, 0] == j) if model.nu else np.zeros(0, np.intp)
        limits = [np.inf]
        if model.jnt_actfrclimited[j]:
            limits.append(float(np.abs(model.jnt_actfrcrange[j]).max()))
        limits += [float(np.abs(model.actuator_forcerange[a]).max() * abs(model.actuator_gear[a, 0]))
                   for a in actuators if model.actuator_forcelimited[a]]
        low, high = model.jnt_range[j] if model.jnt_limited[j] else (-np.pi, np.pi)
        rows.append([model.joint(j).name, float(low), float(high), min(limits) if len(limits) > 1 else None,
                     float(model.dof_armature[model.jnt_dofadr[j]])])
    base = int(model.jnt_bodyid[free[0]])
    bodies: dict[str, Any] = {model.body(base).name: []}
    wanted = anchor or "torso_link"
    if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, wanted) >= 0:
        bodies.setdefault(wanted, _chain(model, base, model.body(wanted).id))
    elif anchor is not None:
        raise BridgeError("plant", expected=f"a body named {anchor}",
                          found=", ".join(model.body(b).name for b in range(1, model.nbody)),
                          what_to_do="name the body that the tracker's anchor is")
    return {"joints": rows, "bodies": bodies}


def _chain(model: Any, base: int, body: int) -> list[list[Any]]:
    """Rows [joint, turn_wxyz, axis] from the base to a body."""
    way = []
    while body not in (base, 0):
        way.append(body)
        body = int(model.body_parentid[body])
    rows: list[list[Any]] = []
    turn = np.array([1.0, 0, 0, 0])
    for link in reversed(way):
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, turn, model.body_quat[link])
        turn = turned
        for j in range(model.body_jntadr[link], model.body_jntadr[link] + model.body_jntnum[link]):
            rows.append([model.joint(j).name, [round(float(x), 9) for x in turn],
                         [round(float(x), 9) for x in model.jnt_axis[j]]])
            turn = np.array([1.0, 0, 0, 0])
    if np.abs(turn[1:]).max() > 1e-9:
        raise BridgeError("plant", expected="an anchor body that is not turned behind its last joint",
                          found=f"{model.body(way[0]).name}", what_to_do="name the body that hangs on the joint itself")
    return rows
