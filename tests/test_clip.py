"""Clips: both layouts load, sampling is exact, and whatever is wrong with a file is refused in words."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime import npz_file, rotation
from runtime.clip import FORMAT, Clip, load_clip, make_clip, save_clip
from runtime.errors import Refused
from runtime.reference import ClipReference, ReferenceFrame
from runtime.robot import load_robot
from tests.shared_data import shared_data

G1 = load_robot("g1_29dof")
NAMES = G1.order.names
FRAMES, FPS = 12, 30.0
Arrays = dict[str, npt.NDArray[Any]]
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def motion(frames: int = FRAMES) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Joint positions within range, a root that walks at 1 m/s and turns at 1 rad/s."""
    t = np.arange(frames) / FPS
    joints = np.array([0.5 * (joint.lower_rad + joint.upper_rad) for joint in G1.joints])
    joint_pos = joints + 0.1 * np.sin(2 * t)[:, None] * np.linspace(-1, 1, len(joints))
    root = np.stack([t, 0 * t, 0.8 + 0 * t], axis=1)
    quat = np.stack([np.cos(t / 2), 0 * t, 0 * t, np.sin(t / 2)], axis=1)
    return joint_pos, root, quat


def ours(**changes: Any) -> Arrays:
    joint_pos, root, quat = motion()
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT), "fps": np.array(FPS), "joint_names": np.array(NAMES),
        "joint_pos": joint_pos, "root_pos": root, "root_quat_wxyz": quat,
    }
    return changed(arrays, changes)


def twist(**changes: Any) -> Arrays:
    joint_pos, root, quat = motion()
    arrays: dict[str, Any] = {
        "fps": np.array(FPS), "joint_names": np.array(NAMES), "dof_pos": joint_pos, "root_pos": root,
        "root_quat_xyzw": quat[:, [1, 2, 3, 0]],
    }
    return changed(arrays, changes)


def changed(arrays: Arrays, changes: dict[str, Any]) -> Arrays:
    arrays.update({key: value for key, value in changes.items() if value is not None})
    return {key: np.asarray(value) for key, value in arrays.items() if changes.get(key, ...) is not None}


def packed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def load(folder: Path, content: Arrays | bytes) -> Clip:
    path = folder / "clip.npz"
    path.write_bytes(content if isinstance(content, bytes) else packed(content))
    return load_clip(path, G1)


def refusal_of(folder: Path, content: Arrays | bytes) -> Refused:
    with pytest.raises(Refused) as refusal:
        load(folder, content)
    error = refusal.value
    assert error.expected and error.found and error.what_to_do
    return error


def edited(values: npt.NDArray[np.float64], place: tuple[int, int], value: float) -> npt.NDArray[np.float64]:
    values = values.copy()
    values[place] = value
    return values


# What loads


@pytest.mark.parametrize("make", [ours, twist])
def test_both_layouts_hold_the_same_motion(tmp_path: Path, make: Any) -> None:
    clip = load(tmp_path, make())
    joint_pos, root, quat = motion()
    np.testing.assert_array_equal(clip.joint_pos, joint_pos)
    np.testing.assert_array_equal(clip.root_pos, root)
    np.testing.assert_allclose(clip.root_quat_wxyz, quat, atol=1e-15)
    assert (clip.fps, clip.order.names) == (FPS, NAMES)
    assert clip.duration_s == pytest.approx((FRAMES - 1) / FPS)


def test_root_rot_is_another_name_for_the_xyzw_rotation(tmp_path: Path) -> None:
    arrays = twist()
    arrays["root_rot"] = arrays.pop("root_quat_xyzw")
    np.testing.assert_allclose(load(tmp_path, arrays).root_quat_wxyz, motion()[2], atol=1e-15)


def test_a_saved_clip_loads_as_it_was(tmp_path: Path) -> None:
    joint_pos, root, quat = motion()
    clip = make_clip("walk", 29.97, G1.order, joint_pos, root, quat)
    save_clip(tmp_path / "clip.npz", clip)
    again = load_clip(tmp_path / "clip.npz", G1)
    assert (again.fps, again.order) == (29.97, G1.order)
    for name in ("joint_pos", "joint_vel", "root_pos", "root_vel", "root_quat_wxyz", "root_ang_vel"):
        np.testing.assert_allclose(getattr(again, name), getattr(clip, name), atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.longdouble])
def test_other_float_types_load_as_float64(tmp_path: Path, dtype: Any) -> None:
    clip = load(tmp_path, ours(joint_pos=motion()[0].astype(dtype)))
    assert clip.joint_pos.dtype == np.float64


def test_names_in_another_order_are_kept_as_an_order(tmp_path: Path) -> None:
    clip = load(tmp_path, ours(joint_names=np.array(NAMES[::-1]), joint_pos=motion()[0][:, ::-1]))
    frame = ReferenceFrame(29)
    ClipReference(clip, G1.order).sample(0.1, frame)
    np.testing.assert_allclose(frame.joint_pos, motion()[0][3], atol=1e-12)


def test_quaternions_are_normalised_within_the_tolerance(tmp_path: Path) -> None:
    clip = load(tmp_path, ours(root_quat_wxyz=motion()[2] * 1.009))
    np.testing.assert_allclose(np.linalg.norm(clip.root_quat_wxyz, axis=1), 1)


@pytest.mark.parametrize("number", [1, 2, 5, 7])
def test_the_shared_walks_are_accepted(number: int) -> None:
    clip = load_clip(shared_data(f"motions/twist2_walk_{number:03d}.npz"), G1)
    assert clip.duration_s > 5
    assert 0.6 < clip.root_pos[:, 2].mean() < 0.9


# Sampling


def test_velocities_are_central_differences() -> None:
    joint_pos, root, quat = motion()
    clip = make_clip("walk", FPS, G1.order, joint_pos, root, quat)
    np.testing.assert_allclose(clip.joint_vel[5], (joint_pos[6] - joint_pos[4]) * FPS / 2, atol=1e-12)
    np.testing.assert_allclose(clip.joint_vel[0], (joint_pos[1] - joint_pos[0]) * FPS, atol=1e-12)
    np.testing.assert_allclose(clip.root_vel, np.tile([1, 0, 0], (FRAMES, 1)), atol=1e-12)
    np.testing.assert_allclose(clip.root_ang_vel, np.tile([0, 0, 1], (FRAMES, 1)), atol=1e-12)


def test_angular_velocity_ignores_the_sign_of_a_quaternion() -> None:
    joint_pos, root, quat = motion()
    quat[::2] *= -1
    clip = make_clip("walk", FPS, G1.order, joint_pos, root, quat)
    np.testing.assert_allclose(clip.root_ang_vel, np.tile([0, 0, 1], (FRAMES, 1)), atol=1e-12)


@pytest.mark.parametrize("fps", [30.0, 29.97, 23.976, 50.0, 120.0])
def test_a_sample_between_frames_is_their_mixture(fps: float) -> None:
    """Golden: linear in positions, slerp in rotation, velocities of the frame before, in the base's own frame."""
    joint_pos, root, quat = motion()
    clip = make_clip("walk", fps, G1.order, joint_pos, root, quat)
    source, frame = ClipReference(clip, G1.order), ReferenceFrame(29)
    source.sample(4.25 / fps, frame)
    np.testing.assert_allclose(frame.joint_pos, 0.75 * joint_pos[4] + 0.25 * joint_pos[5], atol=1e-12)
    np.testing.assert_allclose(frame.joint_vel, clip.joint_vel[4])
    np.testing.assert_allclose(frame.root_pos, 0.75 * root[4] + 0.25 * root[5], atol=1e-12)
    yaw = 4.25 / FPS
    np.testing.assert_allclose(frame.root_rpy, [0, 0, yaw], atol=1e-9)
    np.testing.assert_allclose(frame.root_quat_wxyz, rotation.quat_from_rpy(0, 0, yaw), atol=1e-9)
    speed = fps / FPS
    np.testing.assert_allclose(frame.root_lin_vel, [speed * math.cos(yaw), -speed * math.sin(yaw), 0], atol=1e-9)
    np.testing.assert_allclose(frame.root_ang_vel, [0, 0, speed], atol=1e-9)


@pytest.mark.parametrize("later_s", [0.0, 1e-9, 0.02, 1e6])
def test_the_end_holds_the_last_frame_at_rest(later_s: float) -> None:
    clip = make_clip("walk", FPS, G1.order, *motion())
    frame = ReferenceFrame(29)
    ClipReference(clip, G1.order).sample(clip.duration_s + later_s, frame)
    np.testing.assert_allclose(frame.joint_pos, clip.joint_pos[-1], atol=1e-12)
    assert not frame.joint_vel.any()
    assert not frame.root_lin_vel.any()
    assert not frame.root_ang_vel.any()


def test_a_time_before_the_start_is_the_first_frame() -> None:
    clip = make_clip("walk", FPS, G1.order, *motion())
    frame = ReferenceFrame(29)
    ClipReference(clip, G1.order).sample(-1.0, frame)
    np.testing.assert_array_equal(frame.joint_pos, clip.joint_pos[0])


# What is refused

Q, ROOT, QUAT = motion()
TELEPORT = ROOT - np.where(np.arange(FRAMES) == 0, 40 / FPS, 0)[:, None] * [1, 0, 0]
BAD: dict[str, tuple[Arrays, str]] = {
    "nan joint": (ours(joint_pos=edited(Q, (3, 4), np.nan)), "infinity or more than 1e+06 in frame 3 (0.10 s)"),
    "infinite root": (ours(root_pos=edited(ROOT, (2, 0), np.inf)), "finite root position"),
    "nan rotation": (ours(root_quat_wxyz=edited(QUAT, (0, 0), np.nan)), "finite root rotation"),
    "huge root": (ours(root_pos=ROOT * 1e200), "finite root position"),
    "22 joints": (ours(joint_names=np.array(NAMES[:22]), joint_pos=Q[:, :22]),
                  "expected 29 joints of g1_29dof, found 22 joints"),
    "a name too few": (ours(joint_names=np.array(NAMES[:28])), "one column for each of its 28 joint names"),
    "other names": (ours(joint_names=np.array(["tail_joint", *NAMES[1:]])), "unknown tail_joint"),
    "a name twice": (ours(joint_names=np.array([NAMES[1], *NAMES[1:]])), f"{NAMES[1]} twice"),
    "names as bytes": (ours(joint_names=np.array(NAMES).astype("S")), "`joint_names` of texts"),
    "names as numbers": (ours(joint_names=np.arange(29)), "`joint_names` of texts"),
    "one name": (ours(joint_names=np.array("left_knee_joint")), "a row of `joint_names`"),
    "a table of names": (ours(joint_names=np.array([NAMES])), "a row of `joint_names`"),
    "rotation not unit": (ours(root_quat_wxyz=edited(QUAT, (7, 0), 1.2)), "unit quaternions within 0.01"),
    "rotation zero": (ours(root_quat_wxyz=QUAT * 0), "norm 0.000 in frame 0"),
    "rotation just off": (ours(root_quat_wxyz=QUAT * 1.011), "found norm 1.011"),
    "teleporting root": (ours(root_pos=TELEPORT), "found 41.0 m/s between frames 0 and 1"),
    "root just too fast": (ours(root_pos=ROOT * 6.01), "root speed up to 6.0 m/s"),
    "joint beyond its range": (ours(joint_pos=edited(Q, (5, 3), 2.95)),
                               "left_knee_joint within [-0.087, 2.880] rad, found 2.950 rad in frame 5"),
    "joint jumps": (ours(joint_pos=edited(Q, (5, 0), Q[5, 0] + 2.4)), "left_hip_pitch_joint below 48 rad/s"),
    "no rotation": (ours(root_quat_wxyz=None), "missing root_quat_wxyz"),
    "no fps": (twist(fps=None), "missing fps"),
    "no joints": (twist(dof_pos=None), "missing dof_pos"),
    "nothing": ({}, "found nothing"),
    "another format": (ours(format=np.array("exoactor-clip/9")), "format exoactor-clip/1"),
    "format of numbers": (ours(format=np.zeros(3)), "format exoactor-clip/1"),
    "flat joints": (ours(joint_pos=Q.ravel()), "joints (N, n)"),
    "root of two": (ours(root_pos=ROOT[:, :2]), "root position (12, 2)"),
    "rotation of three": (ours(root_quat_wxyz=QUAT[:, :3]), "root rotation (12, 3)"),
    "xyzw rotation of three": (twist(root_quat_xyzw=QUAT[:, :3]), "root rotation (12, 3)"),
    "xyzw rotation of five": (twist(root_quat_xyzw=np.zeros((12, 5))), "root rotation (12, 5)"),
    "lengths differ": (ours(root_pos=ROOT[:-1]), "root position (11, 3)"),
    "scalar joints": (ours(joint_pos=np.array(1.0)), "joints ()"),
    "scalar rotation": (twist(root_quat_xyzw=np.array(1.0)), "root rotation ()"),
    "no frames": (ours(joint_pos=Q[:0], root_pos=ROOT[:0], root_quat_wxyz=QUAT[:0]), "with N >= 3"),
    "one frame": (ours(joint_pos=Q[:1], root_pos=ROOT[:1], root_quat_wxyz=QUAT[:1]), "with N >= 3"),
    "two frames": (ours(joint_pos=Q[:2], root_pos=ROOT[:2], root_quat_wxyz=QUAT[:2]), "with N >= 3"),
    "complex joints": (ours(joint_pos=Q * 1j), "`joint_pos` of real numbers, found complex128"),
    "joints as texts": (ours(joint_pos=Q.astype(str)), "`joint_pos` of real numbers"),
    "joints as booleans": (ours(joint_pos=Q > 0), "found bool"),
    "times as joints": (ours(joint_pos=Q.astype("timedelta64[s]")), "`joint_pos` of real numbers"),
    "fps zero": (ours(fps=0.0), "fps between 1 and 1000, found 0.0"),
    "fps below one": (ours(fps=0.99), "fps between 1 and 1000"),
    "fps negative": (ours(fps=-30.0), "fps between 1 and 1000"),
    "fps nan": (ours(fps=np.nan), "found nan"),
    "fps infinite": (ours(fps=np.inf), "found inf"),
    "fps huge": (ours(fps=1e300), "fps between 1 and 1000"),
    "fps beyond": (ours(fps=1000.1), "fps between 1 and 1000"),
    "fps as text": (ours(fps=np.array("30")), "`fps` of real numbers"),
    "fps a list": (ours(fps=np.array([30.0, 30.0])), "one `fps`"),
    "fps empty": (ours(fps=np.zeros(0)), "one `fps`"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_clip_is_refused_in_words(tmp_path: Path, case: str) -> None:
    arrays, words = BAD[case]
    assert words in str(refusal_of(tmp_path, arrays))


@pytest.mark.parametrize(("arrays", "fine"), [
    (ours(joint_pos=edited(Q, (5, 0), G1.joints[0].upper_rad + 0.04)), False),  # in range, but a jump
    (ours(joint_pos=np.clip(Q, -9, 9) * 0 + [j.upper_rad + 0.049 for j in G1.joints]), True),
    (ours(joint_pos=np.clip(Q, -9, 9) * 0 + [j.upper_rad + 0.051 for j in G1.joints]), False),
    (ours(joint_pos=np.clip(Q, -9, 9) * 0 + [j.lower_rad - 0.049 for j in G1.joints]), True),
    (ours(joint_pos=np.clip(Q, -9, 9) * 0 + [j.lower_rad - 0.051 for j in G1.joints]), False),
    (ours(root_pos=ROOT * 5.99), True),
    (ours(fps=np.array([FPS])), True),
])
def test_both_sides_of_the_limits(tmp_path: Path, arrays: Arrays, fine: bool) -> None:
    if fine:
        load(tmp_path, arrays)
    else:
        refusal_of(tmp_path, arrays)


def test_a_pickle_is_refused_as_such(tmp_path: Path) -> None:
    arrays = ours()
    arrays["notes"] = np.array([{"a": 1}], dtype=object)
    error = refusal_of(tmp_path, arrays)
    assert error.found == "pickled objects"
    assert "never loaded" in error.what_to_do


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.npz", tmp_path):
        with pytest.raises(Refused, match="no file"):
            load_clip(path, G1)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip", b"\x93NUMPY", bytes(1000)])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "intact npz" in str(refusal_of(tmp_path, content))


def test_a_lone_npy_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, Q)
    refusal_of(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("part", [0.01, 0.3, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    whole = packed(ours())
    assert "cut short" in str(refusal_of(tmp_path, whole[: int(len(whole) * part)]))


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_file, "MAX_BYTES", 1 << 10)
    assert "cut the motion into shorter clips" in str(refusal_of(tmp_path, ours()))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_file, "MAX_BYTES", 1 << 20)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **ours(extra=np.zeros(1 << 20)))  # type: ignore[arg-type]
    assert len(buffer.getvalue()) < 1 << 20
    assert "found 8 MiB" in str(refusal_of(tmp_path, buffer.getvalue()))


def test_a_header_that_claims_more_than_the_archive_holds_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 29)})
    buffer = io.BytesIO(packed(ours(joint_pos=None)))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("joint_pos.npy", header.getvalue())
    refusal_of(tmp_path, buffer.getvalue())


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO(packed(ours(fps=None)))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("fps", b"30")
    assert "`fps` of real numbers, found bytes" in str(refusal_of(tmp_path, buffer.getvalue()))


# Fuzz: a clip or a refusal, never another exception


def load_or_refuse(folder: Path, content: Arrays | bytes) -> None:
    try:
        clip = load(folder, content)
    except Refused:
        return
    assert np.isfinite(clip.joint_vel).all()
    assert np.isfinite(clip.root_ang_vel).all()


numbers = st.sampled_from([0.0, 1.0, -1.0, 1e-320, 1e30, 1e308, math.nan, math.inf, -math.inf])
shapes = st.sampled_from([(), (0,), (1,), (4,), (FRAMES,), (FRAMES, 0), (0, 29), (1, 29), (2, 3), (FRAMES, 3),
                          (FRAMES, 4), (FRAMES, 29), (FRAMES, 29, 1), (29, FRAMES)])
dtypes = st.sampled_from(["f8", "f4", "f2", "g", "i1", "u8", "i8", "c16", "?", "U5", "S5", "M8[s]", "m8[s]", "V8",
                          [("a", "f8")]])


@st.composite
def odd_arrays(draw: st.DrawFn) -> npt.NDArray[Any]:
    with np.errstate(all="ignore"):
        filled = np.zeros(draw(shapes), np.dtype(draw(dtypes)))
        if filled.dtype.kind in "fciu":
            value = draw(numbers)
            if filled.dtype.kind in "fc" or (math.isfinite(value) and abs(value) < 2 and value >= 0):
                filled[...] = value
    return filled


@FUZZ
@given(st.sampled_from([ours, twist]), st.data())
def test_any_array_under_any_key_is_loaded_or_refused(tmp_path: Path, make: Any, data: st.DataObject) -> None:
    arrays = make()
    keys = data.draw(st.lists(st.sampled_from(sorted(arrays)), min_size=1, max_size=3))
    for key in keys:
        if data.draw(st.booleans()):
            arrays[key] = data.draw(odd_arrays())
        elif arrays[key].dtype.kind == "f" and arrays[key].size:
            place = data.draw(st.integers(0, arrays[key].size - 1))
            with np.errstate(over="ignore"):
                arrays[key].reshape(-1)[place] = data.draw(numbers)
    load_or_refuse(tmp_path, arrays)


WHOLE = packed(ours())
ENDS = st.integers(0, 400) | st.integers(len(WHOLE) - 1500, len(WHOLE) - 1) | st.integers(0, len(WHOLE) - 1)


@FUZZ
@given(st.lists(st.tuples(ENDS, st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 3000))
def test_any_damage_is_loaded_or_refused(tmp_path: Path, edits: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(WHOLE)
    for place, value in edits:
        content[place] = value
    load_or_refuse(tmp_path, bytes(content[: len(content) - cut // 2 if cut % 2 else None]))


def turned(yaw_rad: np.ndarray, roll_rad: float = 0.0) -> np.ndarray:
    """(N, 4) w, x, y, z of a robot that faces somewhere and leans a little."""
    quat = np.zeros((len(yaw_rad), 4))
    quat[:, 0], quat[:, 3] = np.cos(yaw_rad / 2), np.sin(yaw_rad / 2)
    quat[:, 1] = quat[:, 0] * roll_rad / 2
    return quat / np.linalg.norm(quat, axis=1, keepdims=True)


STEPS = 60
YAWS = {
    "ahead": np.full(STEPS, 0.05), "turning": np.linspace(0, 3, STEPS), "turning right": np.linspace(0.2, -2, STEPS),
    "facing the other way": np.full(STEPS, 3.1),
}


@pytest.mark.parametrize("yaw", YAWS.values(), ids=YAWS)
@pytest.mark.parametrize("own", [True, False], ids=["wxyz", "xyzw"])
def test_a_walk_whose_rotations_are_in_another_order_is_refused(tmp_path: Path, yaw: np.ndarray, own: bool) -> None:
    if yaw is YAWS["facing the other way"] and not own:
        return  # w first read as last, it is a sound walk backwards
    quat = turned(yaw, 0.03)
    path = np.zeros((STEPS, 3))
    path[1:, :2] = np.cumsum(0.02 * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)[:-1], axis=0)
    path[:, 2] = 0.79
    xyzw = quat[:, [1, 2, 3, 0]]
    names = np.array(G1.order.names)
    q = np.tile([0.5 * (joint.lower_rad + joint.upper_rad) for joint in G1.joints], (STEPS, 1))
    arrays = {"fps": np.float64(50), "joint_names": names, "root_pos": path}
    good: dict[str, Any] = {**arrays, "dof_pos": q, "root_quat_xyzw": xyzw}
    bad: dict[str, Any] = {**arrays, "dof_pos": q, "root_quat_xyzw": quat}
    if own:
        good = {**arrays, "format": np.array("exoactor-clip/1"), "joint_pos": q, "root_quat_wxyz": quat}
        bad = {**good, "root_quat_wxyz": xyzw}
    np.savez(tmp_path / "good.npz", **good)
    load_clip(tmp_path / "good.npz", G1)
    np.savez(tmp_path / "bad.npz", **bad)
    with pytest.raises(Refused, match="exchange the quaternions' order"):
        load_clip(tmp_path / "bad.npz", G1)
