"""Our own motion estimator: its geometry, its takes, its training, its export, and what its stage refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.torch_module import torch_or_skip

torch = torch_or_skip()
for _library in ("onnx", "onnxruntime", "mujoco", "av"):
    pytest.importorskip(_library, reason=f"missing dependency: {_library}")

from exoactor import main
from export.imagine.estimation import motions_in
from export.imagine.ledger import Ledger
from export.imagine.mannequin import CAMERA, mannequin_mjcf, poses
from export.imagine.motion_estimator import takes
from export.imagine.motion_estimator.body import nearest_rotations, rotations, shaped
from export.imagine.motion_estimator.bundle import SHIPPED, open_motion_estimator, write_motion_estimator
from export.imagine.motion_estimator.judging import compare
from export.imagine.motion_estimator.layout import CROP_SIDE, HAND_SIDE, HAND_WINDOW_M
from export.imagine.motion_estimator.lessons import Batches, Lessons, _cut, _moved, load_lessons
from export.imagine.motion_estimator.losses import matrices, place_joints
from export.imagine.motion_estimator.networks import NETWORKS, onnx_of
from export.imagine.motion_estimator.pinhole import Pinhole, depth_m, from_mujoco, level, window_m
from export.imagine.motion_estimator.renders import Truth, folder_of, load_images, load_truth, shoot_all
from export.imagine.motion_estimator.settling import (
    camera_and_body,
    likeliest_states,
    pitch_bias,
    settle,
    settle_pelvis,
)
from export.imagine.motion_estimator.sight import Seen, Sight
from export.imagine.motion_estimator.squares import cut, halved, hand_axes, hand_points, hand_turn
from export.imagine.motion_estimator.stage import OwnEstimateStage, own_lens
from export.imagine.motion_estimator.training import Trainer
from export.imagine.motion_estimator.whole_course import parity
from export.imagine.run_folder import BY_HAND, RunFolder
from export.imagine.stage import Work
from export.learning import Course
from export.motion.video import save_mp4
from firmware_bridge.picture import seen_bodies
from firmware_bridge.scene import Thing
from runtime import rotation
from runtime.errors import Refused
from runtime.golden import TOLERANCES
from runtime.human_motion import HUMAN_JOINTS, PLAIN, pose_in_world

LENS = Pinhole(320, 240, math.radians(45))
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one take of four frames."""
    folder = tmp_path_factory.mktemp("takes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("export.imagine.motion_estimator.renders.FRAMES", 4)
        shoot_all(folder, 5, 1, lambda done: None)
    return folder_of(folder, held_out=False)


@pytest.fixture(scope="module")
def lessons(place: Path) -> Lessons:
    """That take."""
    return load_lessons(place, 1)


def seen_of(truth: Truth) -> list[Seen]:
    """What perfect networks would see of a take."""
    camera, motion = from_mujoco(truth.axes), truth.motion
    local = rotation.matrix_many(motion.local_wxyz)
    local[:, 0] = camera.T @ local[:, 0]
    hands = np.eye(4)[np.maximum(motion.hand_states, 0)] if motion.hand_states is not None else None
    assert hands is not None
    down = math.asin(-camera[2, 2])
    return [Seen((motion.pelvis_m[t] - truth.position_m) @ camera, local[t], truth.shape, down, hands[t])
            for t in range(motion.frames)]


def test_a_pelvis_goes_to_the_picture_and_back() -> None:
    points = RANDOM.uniform([-2, -1, 2], [2, 1, 7], (50, 3))
    np.testing.assert_allclose(LENS.lift(LENS.project(points), points[:, 2]), points, atol=1e-12)
    side = RANDOM.uniform(30, 200, 50)
    window = window_m(side, points[:, 2], LENS.focal_px)
    np.testing.assert_allclose(depth_m(side, window, LENS.focal_px), points[:, 2])


def test_what_is_higher_or_further_left_in_the_world_is_so_in_the_picture() -> None:
    up = level(math.radians(10))
    above, left = (up.T @ np.array(way) + [0, 0, 4] for way in ([0, 0, 0.5], [0, 0.5, 0]))
    middle = LENS.project(np.array([0.0, 0, 4]))
    assert LENS.project(above)[1] < middle[1] and LENS.project(left)[0] < middle[0]
    np.testing.assert_allclose(up.T @ [0, 0, -1], [0, math.cos(math.radians(10)), math.sin(math.radians(10))])
    np.testing.assert_allclose([np.linalg.det(up), LENS.down_of(LENS.horizon_of(np.array(0.2)))], [1, 0.2])


def test_a_ray_goes_through_its_pixel_and_turns_nothing_about_itself() -> None:
    pixels = RANDOM.uniform([0, 0], [320, 240], (20, 2))
    axes = LENS.ray_axes(pixels)
    np.testing.assert_allclose(axes.transpose(0, 2, 1) @ axes, np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(LENS.project(axes[..., 2]), pixels)
    np.testing.assert_allclose(LENS.ray_axes(LENS.middle), np.eye(3))


def test_six_numbers_are_a_rotation_in_numpy_and_torch_alike() -> None:
    true = rotation.matrix_many(rotation.quat_from_vector_many(RANDOM.normal(size=(30, 3))))
    six = np.concatenate([true[..., 0], true[..., 1]], axis=-1)
    np.testing.assert_allclose(rotations(3 * six), true, atol=1e-12)
    wild = RANDOM.normal(size=(30, 6))
    np.testing.assert_allclose(matrices(torch.from_numpy(wild)).numpy(), rotations(wild), atol=1e-12)
    np.testing.assert_allclose(nearest_rotations(0.3 * true), true, atol=1e-12)
    np.testing.assert_allclose(rotation.matrix_many(rotation.quat_from_matrix_many(true)), true, atol=1e-12)


def test_torch_places_joints_where_the_runtime_does() -> None:
    wxyz, shape = rotation.quat_from_vector_many(RANDOM.normal(0, 0.5, (24, 3))), RANDOM.normal(0, 0.1, 4)
    wxyz[22:] = [1, 0, 0, 0]
    expected = pose_in_world(wxyz[None], np.zeros((1, 3)), shaped(shape).offsets_m)[0]
    local = torch.from_numpy(rotation.matrix_many(wxyz)[None, :22]).float()
    placed, _ = place_joints(local, torch.from_numpy(shape[None]).float())
    np.testing.assert_allclose(placed.numpy(), expected, atol=1e-5)


def test_a_right_hand_in_a_mirror_is_a_left_hand() -> None:
    way, turned = np.array([7.0, 3.0]), rotation.matrix_many(rotation.quat_from_vector_many(np.array([0.3, -0.5, 1.0])))
    mirror, middle = np.diag([-1.0, 1.0, 1.0]), np.array([50.0, 50.0])
    left = hand_axes(middle + way, middle, 9.0, 0)
    right = hand_axes(middle + way * [-1, 1], middle, 9.0, 1)
    np.testing.assert_allclose(right, np.diag([-1.0, 1.0]) @ left, atol=1e-12)
    np.testing.assert_allclose(hand_turn(mirror @ turned @ mirror, right, 1), hand_turn(turned, left, 0), atol=1e-12)
    np.testing.assert_allclose(left @ [0, -1], 9 * way / np.linalg.norm(way))
    assert np.linalg.det(left) > 0 > np.linalg.det(right)


def test_squares_are_cut_alike_for_learning_and_for_use(lessons: Lessons) -> None:
    middle, axes = np.array([[150.3, 99.1], [5.0, 230.0]]), np.array([[[30.0, -9], [9, 30]], [[-40.0, 3], [3, 40]]])
    cuts = _cut(torch.from_numpy(lessons.images), np.array([1, 2]), middle, axes, 20).numpy()
    for i, row in enumerate((1, 2)):
        np.testing.assert_allclose(cut(lessons.images[row], middle[i], axes[i], 20), cuts[i], atol=1e-5)


def test_hands_are_cut_and_turned_alike_for_learning_and_for_use(lessons: Lessons, place: Path) -> None:
    batch, rows = Batches(lessons, steady=True), np.array([2, 0, 3])
    learnt = batch.hands(rows, np.random.default_rng(0))
    images = load_images(next(place.glob("*.npz")))
    for i, (hand, row) in enumerate((hand, row) for hand in range(2) for row in rows):
        lens = Pinhole(640, 480, 2 * math.atan(120 / lessons.focal_px[row]))
        middle, wrist = hand_points(lessons.joints[row], hand)
        axes = hand_axes(lens.project(middle), lens.project(wrist), HAND_WINDOW_M / 2 * lens.focal_px / middle[2], hand)
        square = cut(images[row], lens.project(middle), axes, HAND_SIDE)
        np.testing.assert_allclose(learnt["square"][i].numpy(), square, atol=1e-4)
        turn = hand_turn(lessons.turned[row, 22 + hand], axes, hand)
        np.testing.assert_allclose(learnt["turn"][i].numpy(), turn, atol=1e-6)
        assert learnt["states"][i] == lessons.hands[row, hand]


def test_a_take_is_the_same_each_time_and_held_out_ones_are_others(tmp_path: Path, lessons: Lessons,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.imagine.motion_estimator.renders.FRAMES", 4)
    shoot_all(tmp_path, 5, 1, lambda done: None)
    again = load_lessons(folder_of(tmp_path, held_out=False), 1)
    np.testing.assert_array_equal(again.images, lessons.images)
    np.testing.assert_array_equal(again.joints, lessons.joints)
    first = takes.draw(5, 0)
    assert takes.draw(5, 0, held_out=True).around != first.around != takes.draw(5, 1).around
    path = next(folder_of(tmp_path, held_out=False).glob("*.npz"))
    before = path.stat().st_mtime_ns
    shoot_all(tmp_path, 5, 1, lambda done: None)  # what is there is kept
    assert path.stat().st_mtime_ns == before


def test_processes_render_the_same_takes(tmp_path: Path, lessons: Lessons) -> None:
    heard: list[int] = []
    shoot_all(tmp_path, 5, 1, heard.append, workers=2)
    assert heard == [0, 1]
    there = load_lessons(folder_of(tmp_path, held_out=False), 1)
    np.testing.assert_array_equal(there.joints[[0, -1]], lessons.joints[[0, -1]])
    shoot_all(tmp_path, 5, 1, heard.append, workers=2)
    assert heard == [0, 1, 1]


def test_a_moved_picture_has_its_person_and_its_horizon_elsewhere(lessons: Lessons) -> None:
    picture = torch.zeros(40, 3, 60, 80)
    picture[:, :, 30, 40] = 1
    found = torch.tensor([[40.5 / 80, 30.5 / 60, 0.0, 0.0]]).repeat(40, 1)
    moved = _moved(picture, found, np.random.default_rng(4))
    assert moved.shape == picture.shape
    row, column = (moved[:, 0].flatten(1).argmax(1) // 80, moved[:, 0].flatten(1).argmax(1) % 80)
    assert len(row.unique()) > 5 and len(column.unique()) > 5
    np.testing.assert_allclose(found[:, 0], (column + 0.5) / 80, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], (row + 0.5) / 60, atol=1e-6)
    np.testing.assert_allclose(found[:, 3], (30 - row) / 60, atol=1e-6)


def test_a_picture_is_halved_by_means(lessons: Lessons, place: Path) -> None:
    whole = load_images(next(place.glob("*.npz")))[0]
    means = whole.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(lessons.images[0], means, atol=0.51)
    np.testing.assert_array_equal(halved(whole[:-1, :-1]), lessons.images[0][:-1, :-1])


def test_feet_that_are_apart_are_shown_more_often(lessons: Lessons) -> None:
    joints = lessons.joints.copy()
    left, right = (HUMAN_JOINTS.index(f"{side}_ankle") for side in ("left", "right"))
    joints[:, left] = joints[:, right] + lessons.turned[:, 0] @ [0.2, 0.0, 0.0]
    joints[3, left] += lessons.turned[3, 0] @ [0.0, 0.0, 0.4]
    batch = Batches(replace(lessons, joints=joints))
    counts = np.bincount(batch.rows("pose", 9000, np.random.default_rng(0)), minlength=4)
    np.testing.assert_allclose(counts / 9000, [1 / 9, 1 / 9, 1 / 9, 6 / 9], atol=0.02)
    assert np.ptp(np.bincount(batch.rows("hands", 9000, np.random.default_rng(0)))) < 400


def test_what_hides_a_person_is_counted() -> None:
    box = Thing("pillar", "box", (1.0, 1.0, 1.0), (0.0, 0.0, 0.5), 0.3)
    behind, above, before, beside = [-5.0, 0, 0.5], [0.0, 0, 5], [2.0, 0, 0.5], [5.0, 3, 0.5]
    points = np.array([behind, above, before, beside])
    assert [takes.hidden_share(box, (5.0, 0, 0.5), point[None]) for point in points] == [1, 0, 0, 0]
    assert takes.hidden_share(box, (5.0, 0, 0.5), points) == 0.25


def test_a_mirrored_lesson_is_a_true_one(lessons: Lessons) -> None:
    batch = Batches(lessons).pose(np.arange(4).repeat(8), np.random.default_rng(3))
    placed, _ = place_joints(batch["local"], batch["shape"])
    np.testing.assert_allclose(placed.numpy(), batch["joints"].numpy(), atol=2e-3)
    np.testing.assert_allclose(batch["seen"][..., 2].numpy(), batch["joints"][..., 2].numpy(), atol=1e-5)
    assert batch["square"].shape[2:] == (CROP_SIDE, CROP_SIDE)


def learn(lessons: Lessons, name: str, checkpoint: Path | None, until: int | None = None) -> Trainer:
    trainer = Trainer(name, Batches(lessons), Course(4, 1), checkpoint, half=False)
    trainer.resume()
    trainer.run(lambda step, loss: None, until)
    return trainer


def test_training_resumed_ends_where_an_unbroken_one_does(
        lessons: Lessons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.imagine.motion_estimator.training.BATCH", 4)
    whole = learn(lessons, "hands", None)
    learn(lessons, "hands", tmp_path / "hands.pt", until=2)
    rest = learn(lessons, "hands", tmp_path / "hands.pt")
    for a, b in zip(whole.network.state_dict().values(), rest.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(Refused, match="checkpoint"):
        Trainer("finder", Batches(lessons), Course(4, 1), tmp_path / "hands.pt").resume()


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    """Untrained ones, with normalisations that do something."""
    made = {}
    for name, (kind, _, _) in NETWORKS.items():
        torch.manual_seed(4)
        made[name] = kind()
        for module in made[name].modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return made


def test_torch_and_onnx_agree_to_1e_4_and_fit_8_mib(networks: dict[str, Any], lessons: Lessons) -> None:
    exported = {name: onnx_of(name, network) for name, network in networks.items()}
    for name, network in networks.items():
        assert parity(name, network, exported[name], Batches(lessons, steady=True)) <= 1e-4
    assert 4 * sum(values.numel() for network in networks.values() for values in network.parameters()) <= 8e6


def test_a_bundle_opens_only_as_it_was_written(networks: dict[str, Any], lessons: Lessons, tmp_path: Path) -> None:
    exported = {name: onnx_of(name, network) for name, network in networks.items()}
    bundle = write_motion_estimator(tmp_path / "own", exported, list(lessons.images[:2]), LENS, "a card", {"seed": 0})
    assert open_motion_estimator(bundle).golden_error <= 1e-4
    data = bytearray((bundle / "pose.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "pose.onnx").write_bytes(bytes(data))
    with pytest.raises(Refused, match="sha256"):
        open_motion_estimator(bundle)


def test_what_a_mirror_shows_is_told_as_it_is(networks: dict[str, Any], lessons: Lessons) -> None:
    sight = Sight({name: onnx_of(name, network) for name, network in networks.items()})
    image, middle = lessons.images[0], np.array([140.0, 110.0])
    flipped = sight._pose(image[:, ::-1], np.array([320, 0]) + middle * [-1, 1], 150.0)
    told = sight._mirrored(image, middle, 150.0)
    mirror, other = np.diag([-1.0, 1, 1]), [HUMAN_JOINTS.index(name) for name in
                                            [name.replace("left", "x").replace("right", "left").replace("x", "right")
                                             for name in HUMAN_JOINTS]]
    np.testing.assert_allclose(told["joints"].reshape(24, 3), flipped["joints"].reshape(24, 3)[other] @ mirror,
                               atol=1e-4)
    turned = [rotations(one["turns"].reshape(22, 6)) for one in (flipped, told)]
    np.testing.assert_allclose(turned[1], mirror @ turned[0][other[:22]] @ mirror, atol=1e-4)
    np.testing.assert_allclose(told["pelvis"], flipped["pelvis"] * [-1, 1], atol=1e-4)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """A walk before a camera that looks down, without pictures."""
    from export.imagine.mannequin import View
    from export.motion.actor import Actor

    actor = Actor(heading=0.4)
    actor.hold(0.5)
    actor.walk(np.array([[0.0, 0.0], [1.4, 0.6]]), 0.5)
    actor.hand("left", 2)
    actor.hold(0.6)
    motion = actor.motion("walk")
    part = replace(motion, fps=25.0, local_wxyz=motion.local_wxyz[::2], pelvis_m=motion.pelvis_m[::2],
                   hand_states=None if motion.hand_states is None else motion.hand_states[::2])
    view = View((4.0, -2.0, 1.7), (0.5, 0.2, 0.9))
    return Truth("acted", part, np.zeros(4), np.array(view.position_m), view.axes, view.fovy_rad,
                 np.ones((part.frames, 2), bool), np.ones((part.frames, 2), bool))


def test_what_perfect_networks_see_is_settled_to_the_truth(walk: Truth) -> None:
    seen = seen_of(walk)
    settled = settle("walk", 25.0, seen, *camera_and_body([seen]))
    score = compare(settled, walk)
    assert score["mpjpe_mm"] < 10 and score["path_error_from_first"] < 0.02 and score["level_error_deg"] < 0.01
    assert score["hands_right"] > 0.98
    feet = settled.motion.in_world()[0][:, [HUMAN_JOINTS.index("left_ankle"), HUMAN_JOINTS.index("right_ankle")], 2]
    assert abs(float(np.median(feet.min(axis=1))) - 0.09) < 0.01


def test_noise_along_the_ray_is_taken_out_by_feet_that_stand(walk: Truth) -> None:
    random, seen = np.random.default_rng(1), seen_of(walk)
    noisy = [replace(one, pelvis=one.pelvis * (1 + random.normal(0, 0.05))) for one in seen]
    raw = np.stack([one.pelvis for one in noisy]) - np.stack([one.pelvis for one in seen])
    score = compare(settle("walk", 25.0, noisy, *camera_and_body([noisy])), walk)
    assert score["path_error_from_first"] * score["way_m"] < 0.3 * np.linalg.norm(raw, axis=1).mean()


def test_legs_that_are_guessed_anew_in_each_picture_move_nobody(walk: Truth) -> None:
    random, seen = np.random.default_rng(2), seen_of(walk)
    guessed = []
    for one in seen:
        local = one.local.copy()
        for name in ("left_hip", "right_hip", "left_knee", "right_knee"):
            swing = rotation.quat_from_vector_many(random.normal(0, 0.3, 3))
            local[HUMAN_JOINTS.index(name)] = local[HUMAN_JOINTS.index(name)] @ rotation.matrix_many(swing)
        guessed.append(replace(one, local=local))
    score = compare(settle("walk", 25.0, guessed, *camera_and_body([guessed])), walk)
    assert score["path_error_from_first"] < 0.1


def test_a_path_is_judged_turned_onto_the_true_one_and_as_it_is(walk: Truth) -> None:
    seen = seen_of(walk)
    settled = settle("walk", 25.0, seen, *camera_and_body([seen]))
    turn = rotation.quat_from_vector_many(np.array([0.0, 0.0, 0.3]))
    motion = replace(settled.motion, pelvis_m=rotation.rotate_many(np.broadcast_to(turn, (walk.motion.frames, 4)),
                                                                   settled.motion.pelvis_m))
    score = compare(replace(settled, motion=motion), walk)
    assert score["path_error"] < 0.02 < 0.1 < score["path_error_from_first"]


def test_a_bias_of_the_roots_pitch_is_found_and_taken_out(walk: Truth) -> None:
    lean = rotation.matrix_many(rotation.quat_from_vector_many(np.array([0.1, 0.0, 0.0])))
    seen = seen_of(walk)
    biased = []
    for one in seen:
        local = one.local.copy()
        local[0] = local[0] @ lean
        biased.append(replace(one, local=local))
    plain, leaning = (settle("walk", 25.0, video, *camera_and_body([video])) for video in (seen, biased))
    assert plain.pitch_bias_rad is not None and leaning.pitch_bias_rad is not None and leaning.is_corrected
    assert leaning.pitch_bias_rad - plain.pitch_bias_rad == pytest.approx(0.1, abs=0.01)
    assert plain.pitch_bias_rad == pytest.approx(0, abs=0.01)
    assert compare(leaning, walk)["mpjpe_mm"] < 10
    wxyz = rotation.quat_from_matrix_many(np.stack([one.local for one in seen]))
    wxyz[:, HUMAN_JOINTS.index("left_knee")] = rotation.quat_from_vector_many(np.array([1.0, 0, 0]))
    assert pitch_bias(wxyz, walk.motion.pelvis_m, PLAIN.offsets_m, 25.0) is None  # nobody stands straight


def test_hand_states_last_while_a_few_pictures_say_otherwise() -> None:
    truth = np.zeros((100, 2), int)
    truth[40:, 0], truth[70:, 1] = 2, 1
    shares = np.full((100, 2, 4), 0.1)
    np.put_along_axis(shares, truth[..., None], 0.7, axis=2)
    shares[20:23, 0], shares[50:53, 1] = [0.05, 0.9, 0.05, 0.0], [0.0, 0.0, 1.0, 0.0]
    np.testing.assert_array_equal(likeliest_states(shares, 25.0), truth)


def test_a_hand_s_state_outlasts_what_hides_it_and_half_a_hand_is_seen() -> None:
    shares = np.full((100, 2, 4), [0.02, 0.02, 0.94, 0.02])
    shares[40:60, 0] = [0.004, 0.004, 0.002, 0.99]
    shares[40:60, 1] = [0.1, 0.1, 0.2, 0.6]
    shares[60:62] = [0.2, 0.2, 0.3, 0.3]
    told = likeliest_states(shares, 25.0)
    assert (told[:, 1] == 2).all(), "of half a hand the state is told"
    assert (told[42:58, 0] == -1).all() and (told[:38, 0] == 2).all() and (told[62:, 0] == 2).all()


def test_a_pelvis_that_is_seen_well_stays(walk: Truth) -> None:
    pelvis = walk.motion.pelvis_m - walk.position_m
    joints = walk.motion.in_world()[0]
    feet = joints[:, [HUMAN_JOINTS.index("left_ankle"), HUMAN_JOINTS.index("right_ankle")]] - joints[:, :1]
    found = settle_pelvis(pelvis, feet)
    np.testing.assert_allclose(found[:, 2], walk.motion.pelvis_m[:, 2], atol=0.02)


@pytest.mark.parametrize("provider", [BY_HAND, "fal-kling-v1", ""])
def test_a_video_that_is_not_ours_is_refused(tmp_path: Path, provider: str) -> None:
    run = RunFolder(tmp_path / "run")
    row = run.row("film")
    row.provider, row.facts = provider, {"fovy_rad": 0.8}
    with pytest.raises(Refused, match="GVHMR"):
        own_lens(run)
    row.provider = "embedded"
    assert own_lens(run) == 0.8
    row.facts = {}
    with pytest.raises(Refused, match="GVHMR"):
        own_lens(run)


def test_what_ships_sees_what_it_saw_when_it_was_exported() -> None:
    opened = open_motion_estimator(SHIPPED)
    assert opened.golden_error <= TOLERANCES["action"]
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.onnx")) <= 8 << 20
    assert "cannot do" in (SHIPPED / "CARD.md").read_text("utf-8")


@pytest.mark.slow
def test_words_become_a_chain_by_nothing_but_what_ships(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["imagine", "wave with your left hand", "--out", str(run)]) == 0
    rows = {row["check"]: row for row in json.loads((run / "report" / "report.json").read_text("utf-8"))["whole"]}
    assert rows["pose_error"]["value"] < 0.1 and rows["root_drift_error"]["value"] < 0.5
    assert (run / "chain.json").is_file()


def test_without_weights_the_stage_says_how_to_train_them(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="export motion-estimator"):
        open_motion_estimator(tmp_path / "none")
    assert OwnEstimateStage(tmp_path / "none").settings() == ["embedded", ""]


def test_a_take_on_disk_says_what_was_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.imagine.motion_estimator.renders.HELD_OUT_FRAMES", 3)
    shoot_all(tmp_path, 5, 1, lambda done: None, held_out=True)
    truth = load_truth(next(folder_of(tmp_path, held_out=True).glob("*.npz")))
    take = takes.draw(5, 0, held_out=True)
    np.testing.assert_allclose(truth.motion.pelvis_m, take.motion.pelvis_m[:6:2])
    np.testing.assert_allclose(truth.motion.skeleton.offsets_m, shaped(take.shape).offsets_m)
    text, every = mannequin_mjcf(take.motion.skeleton, take.around), poses(take.motion, take.around)
    np.testing.assert_array_equal(truth.seen, seen_bodies(text, list(every[:6:2]), CAMERA, HUMAN_JOINTS[22:]))


def test_the_stage_gives_a_motion_a_video_of_our_own_film(
        networks: dict[str, Any], lessons: Lessons, tmp_path: Path) -> None:
    exported = {name: onnx_of(name, network) for name, network in networks.items()}
    bundle = write_motion_estimator(tmp_path / "own", exported, list(lessons.images[:1]), LENS, "a card", {})
    run = RunFolder(tmp_path / "run")
    film, out = run.scratch("film"), tmp_path / "out"
    save_mp4(film / "01.mp4", list(lessons.images), 25.0)
    run.row("film").outputs = run.keep("film", film)
    run.row("film").provider, run.row("film").facts = "embedded", {"fovy_rad": LENS.fovy_rad}
    out.mkdir()
    work = Work(run, out, Ledger(tmp_path / "calls"), 0, lambda line: None)
    OwnEstimateStage(bundle).work(work)
    (motion,) = motions_in(out)
    assert (motion.frames, motion.fps) == (len(lessons.images), 25.0)
    assert motion.hand_states is not None and "down_deg" in work.facts
