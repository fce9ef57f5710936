"""Writers of other people's motion files, from a motion of ours: each as its sheet says, exact keys and types.

A writer turns a `HumanMotion` into what a program would have written of it, by the inverse of the format's definition,
so that a reader that falls into one of the format's traps gives another motion back.
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from runtime import rotation
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, PLAIN, HumanMotion, make_human_motion

TO_Y_UP = rotation.quat_from_vector_many(np.array([-np.pi / 2, 0.0, 0.0]))
"""Of a z-up world into a y-up one."""


def walking(fps: float = 30.0, frames: int = 31, seed: int = 1) -> HumanMotion:
    """Someone who goes along a bent path and moves every joint, upright, feet near the floor."""
    rng, t = np.random.default_rng(seed), np.arange(frames) / fps
    waves = rng.normal(0, 0.25, (24, 3)) * np.sin(t[:, None, None] * 3 + rng.uniform(0, 6, (24, 3)))
    waves[:, 22:] = 0  # hands: no format keeps them
    local = rotation.quat_from_vector_many(waves)
    yaw = rotation.quat_from_vector_many(np.stack([0 * t, 0 * t, 0.4 + 0.8 * t], axis=1))
    upright = rotation.quat_from_vector_many(np.array([np.pi / 2, 0.1, 0.0]))
    local[:, 0] = rotation.multiply_many(yaw, np.broadcast_to(upright, yaw.shape))
    pelvis = np.stack([1.1 * t, 0.5 * np.sin(t), 0.9 + 0.02 * np.cos(5 * t)], axis=1)
    return make_human_motion("walking", fps, local, pelvis, PLAIN)


def vectors(motion: HumanMotion, *, y_up: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Root (T, 3), body (T, 21, 3) as rotation vectors and pelvis (T, 3), in a z-up or y-up world."""
    root, place = motion.local_wxyz[:, 0], motion.pelvis_m
    if y_up:
        root, place = rotation.multiply_many(TO_Y_UP, root), rotation.rotate_many(TO_Y_UP, place)
    return (rotation.rotation_vector_many(root), rotation.rotation_vector_many(motion.local_wxyz[:, 1:22]), place)


def matrices(quats: np.ndarray) -> np.ndarray:
    """(..., 3, 3) of (..., 4)."""
    return np.stack([rotation.rotate_many(quats, axis) for axis in np.eye(3)], axis=-1)


def amass_smplh(path: Path, motion: HumanMotion, **more: Any) -> Path:
    root, body, place = vectors(motion, y_up=False)
    poses = np.concatenate([root, body.reshape(len(root), -1), np.zeros((len(root), 90))], axis=1)
    np.savez(path, **{"poses": poses, "trans": place, "betas": np.zeros(16), "gender": np.array("neutral"),
                      "mocap_framerate": np.float64(motion.fps), "dmpls": np.zeros((len(root), 8)), **more})
    return path


def amass_smplx(path: Path, motion: HumanMotion) -> Path:
    root, body, place = vectors(motion, y_up=False)
    np.savez(path, root_orient=root, pose_body=body.reshape(len(root), 63), trans=place, betas=np.zeros((1, 16)),
             gender=np.array("neutral"), mocap_frame_rate=np.float64(motion.fps))
    return path


def smplx_group(motion: HumanMotion) -> dict[str, np.ndarray]:
    """GVHMR's parameters of one world."""
    root, body, place = vectors(motion, y_up=True)
    return {"body_pose": body.reshape(len(root), 63), "global_orient": root, "transl": place,
            "betas": np.zeros((len(root), 10))}


def wham(path: Path, tracks: dict[int, tuple[HumanMotion, np.ndarray]]) -> Path:
    out = {}
    for number, (motion, ids) in tracks.items():
        root, body, place = vectors(motion, y_up=True)
        pose = np.concatenate([root, body.reshape(len(root), 63), np.zeros((len(root), 6))], axis=1)
        out[number] = {"pose": pose * 0, "trans": place * 0, "pose_world": pose, "trans_world": place,
                       "betas": np.zeros((len(root), 10)), "verts": None, "frame_ids": ids}
    path.write_bytes(pickle.dumps(out))
    return path


def wham_api(path: Path, motion: HumanMotion) -> Path:
    root, _, place = vectors(motion, y_up=True)
    path.write_bytes(pickle.dumps({
        "poses_body": matrices(motion.local_wxyz[:, 1:]), "trans_world": place, "frame_id": np.arange(len(root)),
        "poses_root_world": matrices(rotation.quat_from_vector_many(root))[:, None], "betas": np.zeros((len(root), 10)),
    }))
    return path


def in_camera(quats: np.ndarray) -> np.ndarray:
    """Rotations of a z-up world as a level camera sees them that looks along +y: its y down, its z away."""
    return rotation.multiply_many(rotation.quat_from_vector_many(np.array([np.pi / 2, 0.0, 0.0])), quats)


def phalp(path: Path, motion: HumanMotion, *, people: int = 1, name: str = "outputs/_DEMO/img/{:06d}.jpg") -> Path:
    root, body = matrices(in_camera(motion.local_wxyz[:, 0])), matrices(motion.local_wxyz[:, 1:])
    frames = {}
    for k in range(motion.frames):
        smpl = [{"global_orient": root[k][None], "body_pose": body[k], "betas": np.zeros(10)} for _ in range(people)]
        frames[name.format(k + 1)] = {"smpl": smpl, "tid": list(range(1, people + 1)),
                                                        "camera": [np.array([0, 0, 5.0])] * people, "time": k}
    path.write_bytes(pickle.dumps(frames))
    return path


def tram(path: Path, motion: HumanMotion) -> Path:
    quats = motion.local_wxyz.copy()
    quats[:, 0] = in_camera(quats[:, 0])
    place = rotation.rotate_many(rotation.quat_from_vector_many(np.array([np.pi / 2, 0.0, 0.0])), motion.pelvis_m)
    data = {"pred_rotmat": matrices(quats), "pred_shape": np.zeros((motion.frames, 10)), "pred_trans": place[:, None],
            "pred_cam": np.zeros((motion.frames, 3)), "frame": np.arange(motion.frames)}
    np.save(path, np.array(data, object), allow_pickle=True)
    return path


OMOMO = (
    "pelvis left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot spine1 spine2 spine3 "
    "neck head left_collar left_shoulder left_elbow left_wrist" + " left_hand" * 15
    + " right_collar right_shoulder right_elbow right_wrist" + " right_hand" * 15).split()


def omomo_tensor(motion: HumanMotion) -> np.ndarray:
    """(T, 591) float32 as InterMimic keeps OMOMO: SMPL's base rotation taken out, x, y, z, w, depth first."""
    placed, turned = motion.in_world()
    take_out = rotation.multiply_many(turned, np.broadcast_to(np.array([0.5, -0.5, -0.5, -0.5]), turned.shape))
    order = [HUMAN_JOINTS.index(name) for name in OMOMO]
    rows = np.zeros((motion.frames, 591), np.float32)
    rows[:, :3], rows[:, 3:7] = placed[:, 0], take_out[:, 0][:, [1, 2, 3, 0]]
    rows[:, 162:318] = placed[:, order].reshape(motion.frames, -1)
    rows[:, 383:591] = take_out[:, order][..., [1, 2, 3, 0]].reshape(motion.frames, -1)
    return rows


class _Storage:
    """Pickled as torch pickles storages: a persistent id."""

    def __init__(self, dtype: str, key: str, count: int) -> None:
        self.pid = ("storage", _Global("torch", dtype), key, "cpu", count)


class _Global:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Rebuild:
    def __init__(self, key: str, array: np.ndarray, dtype: str) -> None:
        self.key, self.array, self.dtype = key, array, dtype


class _TorchPickler(pickle._Pickler):
    """Writes the opcodes of torch.save, without torch."""

    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Storage) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, _Rebuild):
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            steps = tuple(step // obj.array.itemsize for step in obj.array.strides)
            self.save((_Storage(obj.dtype, obj.key, obj.array.size), 0, obj.array.shape, steps, False,
                       _Global("collections", "OrderedDict")))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


class _JoblibPickler(_TorchPickler):
    """Writes arrays as joblib does: a note of shape and type, then, aligned, the bytes themselves."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, 3)
        self.stream = stream

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(obj, np.ndarray):
            super().save(obj, save_persistent_id)
            return
        self.save(_Global("joblib.numpy_pickle", "NumpyArrayWrapper"))
        self.write(pickle.EMPTY_TUPLE + pickle.NEWOBJ)
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"
        self.save({"subclass": _Global("numpy", "ndarray"), "shape": obj.shape, "order": order, "dtype": obj.dtype,
                   "allow_mmap": True, "numpy_array_alignment_bytes": 16})
        self.write(pickle.BUILD)
        pad = 16 - (self.stream.tell() + 1) % 16
        self.write(bytes([pad]) + b"\xff" * pad + obj.tobytes(order))


def joblib_file(path: Path, tree: Any, *, compress: bool = False) -> Path:
    """A file of joblib.dump, plain or by zlib."""
    stream = io.BytesIO()
    _JoblibPickler(stream).dump(tree)
    path.write_bytes(zlib.compress(stream.getvalue()) if compress else stream.getvalue())
    return path


def torch_archive(path: Path, tree: Any) -> Path:
    """A file of torch.save with float32 tensors in place of the arrays."""
    raw: dict[str, bytes] = {}

    def tensors(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        key, array = str(len(raw)), np.ascontiguousarray(value, np.float32)
        raw[key] = array.tobytes()
        return _Rebuild(key, array, "FloatStorage")

    stream = io.BytesIO()
    _TorchPickler(stream, 2).dump(tensors(tree))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, data in raw.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


BVH_NAMES = (
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
    "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
    "LeftForeArm", "RightForeArm", "LeftHand", "RightHand", "LeftHandMiddle1", "RightHandMiddle1",
)
"""In the order of `HUMAN_JOINTS`."""


def bvh(path: Path, motion: HumanMotion, *, order: str = "ZXY", unit: float = 0.01, prefix: str = "",
        t_pose: bool = True, droop: float = 0.0, line_end: str = "\n") -> Path:
    """A y-up file; angles in an order, lengths in a unit.

    Args:
        t_pose: begin with the pose at rest.
        droop: rad by which the arms hang at rest (an A-pose when not 0).
    """
    bones = motion.skeleton.offsets_m.copy()
    own = np.tile([1.0, 0, 0, 0], (24, 1))  # what each joint's axes at rest are turned by in the T-pose
    for side, sign in (("left", 1), ("right", -1)):
        turn = rotation.quat_from_vector_many(np.array([0, 0, -sign * droop]))
        for part in ("elbow", "wrist", "hand"):
            joint = HUMAN_JOINTS.index(f"{side}_{part}")
            bones[joint] = rotation.rotate_many(turn, bones[joint])
        for part in ("shoulder", "elbow", "wrist", "hand"):
            own[HUMAN_JOINTS.index(f"{side}_{part}")] = rotation.conjugate_many(turn)
    world = motion.in_world()[1]
    world = rotation.multiply_many(rotation.multiply_many(TO_Y_UP, world), np.broadcast_to(own, world.shape))
    local = world.copy()
    for joint, parent in enumerate(HUMAN_PARENTS[1:], start=1):
        local[:, joint] = rotation.multiply_many(rotation.conjugate_many(world[:, parent]), world[:, joint])
    place = rotation.rotate_many(TO_Y_UP, motion.pelvis_m)
    if t_pose:
        local = np.concatenate([np.tile([1.0, 0, 0, 0], (1, 24, 1)), local])
        place = np.concatenate([place[:1], place])
    visited: list[int] = []
    lines = ["HIERARCHY", *_joint_lines(0, bones / unit, order, prefix, visited), "MOTION", f"Frames: {len(local)}",
             f"Frame Time: {1 / motion.fps:.8f}"]
    angles = _euler_deg(matrices(local), order)
    for k in range(len(local)):
        row = [*(place[k] / unit), *angles[k][visited].reshape(-1)]
        lines.append(" ".join(f"{value:.9e}" for value in row))
    path.write_bytes(line_end.join(lines).encode())
    return path


def _joint_lines(joint: int, bones: np.ndarray, order: str, prefix: str, visited: list[int]) -> list[str]:
    visited.append(joint)
    head = "ROOT" if joint == 0 else "JOINT"
    channels = " ".join(f"{axis}rotation" for axis in order)
    own = f"CHANNELS 6 Xposition Yposition Zposition {channels}" if joint == 0 else f"CHANNELS 3 {channels}"
    lines = [f"{head} {prefix}{BVH_NAMES[joint]}", "{",
             "OFFSET " + " ".join(f"{value:.9e}" for value in bones[joint]), own]
    children = [child for child, parent in enumerate(HUMAN_PARENTS) if parent == joint]
    for child in children:
        lines += _joint_lines(child, bones, order, prefix, visited)
    return [*lines, *([] if children else ["End Site", "{", "OFFSET 0 1 0", "}"]), "}"]


def _euler_deg(R: np.ndarray, order: str) -> np.ndarray:
    """(..., 3) angles of R = R(first) R(second) R(third), away from gimbal lock."""
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    b = np.arcsin(np.clip(sign * R[..., i, k], -1, 1))
    a = np.arctan2(-sign * R[..., j, k], R[..., k, k])
    c = np.arctan2(-sign * R[..., i, j], R[..., i, i])
    return np.degrees(np.stack([a, b, c], axis=-1))
