"""Files as other people's estimators leave them, put into a run by hand: through every stage to a robot that moves."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from export.imagine import assembly, beside
from export.imagine.adopted import adopt
from export.imagine.estimation import motions_in
from export.imagine.words import PNG
from export.motion import tasks
from export.motion.actor import Actor
from export.motion.video import save_mp4
from runtime.chain import load_motion
from runtime.clip import load_clip, save_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, save_human_motion
from runtime.resample import human_at
from runtime.robot import load_robot
from tests import motion_files as files
from tests.test_motion_hands import keypoints

PLAN = {"format": "exoactor-plan/1", "task": "reach forwards", "actions": [
    {"verb": "reach", "object": "", "hand": "right", "duration_s": 3.0, "end_state": "an arm is out"}]}


def reaching() -> HumanMotion:
    """Somebody who stretches the right arm forwards, as an estimator gives it: 30 frames a second."""
    actor = Actor()
    actor.hold(0.4)
    tasks.reach(actor, "right", 1.2)
    actor.hold(0.4)
    return human_at(actor.motion("reach"), 30.0)


def group_of(name: str) -> Callable[[Path, HumanMotion], Path]:
    """A writer of torch archives with one world's and the camera's parameters."""
    def write(folder: Path, motion: HumanMotion) -> Path:
        group = files.smplx_group(motion)
        camera = {key: values * 0.3 for key, values in group.items()}
        return files.torch_archive(folder / "result.pt", {
            f"{name}_params_global": group, f"{name}_params_incam": camera,
            "K_fullimg": np.zeros((motion.frames, 3, 3))})

    return write


def hand_tracks(path: Path, frames: int) -> None:
    """WiLoR's, a dictionary a frame: the right hand closes halfway, the left stays open."""
    path.write_bytes(pickle.dumps({f"{k:06d}.jpg": {
        "right": np.array([0.0, 1.0]), "pred_keypoints_3d": np.stack(
            [keypoints(5, is_mirrored=True), keypoints(5 if k < frames // 2 else 75)])} for k in range(frames)}))


def with_hands(folder: Path, motion: HumanMotion) -> Path:
    """GVHMR's result and WiLoR's hands of the same video."""
    out = folder / "both"
    out.mkdir()
    group_of("smpl")(folder, motion).rename(out / "01.pt")
    hand_tracks(out / "01.hands.pkl", motion.frames)
    return out


LAYOUTS: dict[str, Callable[[Path, HumanMotion], Path]] = {
    "GVHMR": group_of("smpl"), "GENMO or GEM": group_of("body"),
    "WHAM": lambda folder, motion: files.wham(folder / "wham_output.pkl", {0: (motion, np.arange(motion.frames))}),
    "WHAM's API": lambda folder, motion: files.wham_api(folder / "api.pkl", motion),
    "WiLoR beside GVHMR": with_hands,
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_estimators_file_becomes_a_robots_motion(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "show_motion", lambda *given, **more: [])  # pictures take most of the time
    motion = reaching()
    (tmp_path / "picture.png").write_bytes(PNG + b"a scene")
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    save_mp4(tmp_path / "film.mp4", [np.full((48, 64, 3), 4 * k, np.uint8) for k in range(60)], 25.0)
    estimate, run = LAYOUTS[layout](tmp_path, motion), tmp_path / "run"
    words = [f"--replace={name}={path}" for name, path in (
        ("decompose", tmp_path / "plan.json"), ("embody", tmp_path / "picture.png"), ("film", tmp_path / "film.mp4"),
        ("estimate", estimate))]
    assert exoactor.main(["imagine", "reach forwards", "--out", str(run), "--image", str(tmp_path / "picture.png"),
                          *words]) == 0
    clip = load_motion(str(run / "chain.json"), load_robot("g1_29dof"))
    moved = np.ptp(clip.joint_pos, axis=0)
    assert moved[clip.order.names.index("right_shoulder_pitch_joint")] > 0.6
    assert moved[clip.order.names.index("left_shoulder_pitch_joint")] < 0.1
    if "WiLoR" in layout:
        states = clip.channels["hand_states"]
        assert states[0].tolist() == [0, 0] and states[-1].tolist() == [0, 2]
    assert exoactor.main(["run", "--chain", str(run / "chain.json"), "--lockstep", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["outcome"] == "done" and not report["fell"]
    assert report["tracking"]["joint_error_rad_mean"] < 0.1
    if layout == "GVHMR":
        sheets: list[np.ndarray] = []
        monkeypatch.setattr(beside, "save_png", lambda path, image: sheets.append(image))
        assert exoactor.main(["imagine", "--out", str(run), "--beside", str(tmp_path / "out")]) == 0
        above, below = sheets[0][:240], sheets[0][-240:]
        width = sheets[0].shape[1] // beside.FRAMES
        shades = [above[:, k * width:][:, :300].mean() for k in range(beside.FRAMES)]
        assert np.diff(shades).min() > 3 and below.std() > 10  # the film grows brighter; a robot is no blank
        assert np.abs(np.diff([below[:, k * width:][:, :300].mean() for k in (0, beside.FRAMES - 1)])).max() > 0.01


def test_files_are_taken_in_the_order_of_their_names_and_kept(tmp_path: Path) -> None:
    motion = reaching()
    group_of("smpl")(tmp_path, motion).rename(tmp_path / "a_first.pt")
    files.wham(tmp_path / "b_second.pkl", {0: (motion, np.arange(motion.frames))})
    hand_tracks(tmp_path / "b_second.hands.pkl", motion.frames)
    notes = adopt(tmp_path)
    first, second = motions_in(tmp_path)
    assert first.hand_states is None and second.hand_states is not None
    assert sorted(path.name for path in (tmp_path / "from").iterdir()) == ["a_first.pt", "b_second.hands.pkl",
                                                                            "b_second.pkl"]
    assert any("hands of b_second.hands.pkl" in note for note in notes)
    np.testing.assert_allclose(first.in_world()[0][:, 21] - first.pelvis_m, motion.in_world()[0][:, 21]
                               - motion.pelvis_m, atol=1e-5)


def test_what_is_ours_stays_byte_by_byte(tmp_path: Path) -> None:
    save_human_motion(tmp_path / "01.npz", reaching())
    np.save(tmp_path / "01.seen.npy", np.ones((3, 24)))
    before = (tmp_path / "01.npz").read_bytes()
    assert adopt(tmp_path) == [] and (tmp_path / "01.npz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01.npz", "01.seen.npy"]


def robots(folder: Path) -> None:
    """A robot's clip."""
    save_clip(folder / "01.npz", load_clip("walk", load_robot("g1_29dof")))


@pytest.mark.parametrize(("write", "said"), [
    (lambda folder: hand_tracks(folder / "02.hands.pkl", 30), "beside"),
    (robots, "robot"),
    (lambda folder: (folder / "01.pt").write_bytes(b"nothing"), "01.pt"),
])
def test_what_is_no_humans_motion_is_refused(write: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(Refused, match=said):
        adopt(tmp_path)
