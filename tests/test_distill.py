"""Distilling a controller: what the student sees and is taught, and that a course can be broken off and repeated."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.torch_module import torch_or_skip

torch = torch_or_skip()
pytest.importorskip("mujoco", reason="missing dependency: mujoco")
ort = pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from export import distill_command
from export.distill import Class, Course
from export.rollout import Hardship, Network, Pupil, gather, input_size
from export.script import Repertoire, Script
from export.student import Lessons, Student, fit
from export.student_manifest import student_manifest
from firmware_bridge.sim_options import PLANT
from runtime.clip import find_clip, load_clip
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.manifest import CONTROLLERS
from runtime.manifest_reader import load_manifest
from runtime.model import Model
from tests import tiny_onnx

TEACHER = load_manifest("twist2")
CLIPS = [load_clip(name, TEACHER.robot) for name in ("walk", "squat")]


def teacher_json() -> dict:
    return json.loads((CONTROLLERS / "twist2.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A teacher's network (small random weights), and a student's manifest and network."""
    folder = tmp_path_factory.mktemp("distill")
    weight = np.random.default_rng(0).normal(0, 0.01, (1432, 29)).astype(np.float32)
    tiny_onnx.write(
        folder / "teacher.onnx", [tiny_onnx.node("MatMul", ["x", "w"], ["y"])],
        [("x", tiny_onnx.FLOAT, ("batch", 1432))], [("y", tiny_onnx.FLOAT, ("batch", 29))], {"w": weight},
    )
    (folder / "student.json").write_text(json.dumps(student_manifest(teacher_json(), "student", 2)))
    torch.manual_seed(0)
    (folder / "student.onnx").write_bytes(Student(3 * 127, 29, (16,)).onnx())
    return folder


def pupils(folder: Path, count: int, hardship: Hardship) -> tuple[list[Pupil], Network, Network]:
    student = load_manifest(str(folder / "student.json"))
    teaching = Network((folder / "teacher.onnx").read_bytes())
    learning = Network((folder / "student.onnx").read_bytes())
    repertoire = Repertoire(TEACHER, CLIPS, [1.0, 1.0])
    robots = [Pupil(TEACHER, student, teaching.buffers(), learning.buffers(), PLANT, repertoire, hardship)
              for _ in range(count)]
    for i, robot in enumerate(robots):
        robot.seed(7, i)
    return robots, teaching, learning


CALM = Hardship(0, 0, 0, 0, 0, 0, 0, 0, 1e9, 0)


def test_a_student_sees_each_term_of_its_teacher_once_and_some_past_frames(folder):
    student = load_manifest(str(folder / "student.json"))
    frame, past = student.inputs[0]["blocks"]
    terms = [term["term"] for term in frame["terms"]]
    assert len(terms) == len(set(terms)) == 10
    assert (past["past_of"], past["length"]) == ("frame", 2)
    assert input_size(student) == 3 * 127
    np.testing.assert_array_equal(student.kp, TEACHER.kp)
    np.testing.assert_array_equal(student.action_scale, TEACHER.action_scale)


def test_a_student_of_a_velocity_controller_has_its_gait_clock_and_ranges(tmp_path):
    data = json.loads((CONTROLLERS / "holosoma-velocity.json").read_text("utf-8"))
    (tmp_path / "student.json").write_text(json.dumps(student_manifest(data, "student", 3)))
    student = load_manifest(str(tmp_path / "student.json"))
    assert student.phase is not None and student.command_ranges is not None
    assert input_size(student) == 4 * 100


def test_the_exported_network_is_the_trained_one():
    torch.manual_seed(1)
    student, rng = Student(40, 7, (32, 16)), np.random.default_rng(0)
    seen = rng.normal(3.0, 2.0, (1000, 40)).astype(np.float32)
    seen[:, 5] = 1.5
    student.normalise_by(torch.from_numpy(seen), 0.05)
    session = ort.InferenceSession(student.onnx(), providers=["CPUExecutionProvider"])
    (action,) = session.run(None, {"observation": seen})
    with torch.no_grad():
        np.testing.assert_allclose(action, student(torch.from_numpy(seen)).numpy(), atol=1e-5)


def test_normalised_inputs_have_zero_mean_and_a_constant_one_stays_quiet():
    student = Student(3, 1, ())
    seen = torch.randn(5000, 3) * torch.tensor([1.0, 5.0, 0.0]) + torch.tensor([0.0, 2.0, 4.0])
    student.normalise_by(seen, 0.05)
    normal = (seen - student.mean) * student.scale
    assert float(normal.mean(dim=0).abs().max()) < 1e-4
    assert float(normal[:, 2].abs().max()) < 1e-4


def test_robots_in_a_batch_get_what_each_would_get_alone(folder):
    network = Network((folder / "teacher.onnx").read_bytes())
    models = [network.buffers() for _ in range(3)]
    rng = np.random.default_rng(0)
    for model in models:
        model.inputs["x"][:] = rng.normal(size=(1, 1432))
    network.run(models)
    for model in models:
        alone = Model(folder / "teacher.onnx")
        alone.inputs["x"][:] = model.inputs["x"]
        alone.run()
        np.testing.assert_allclose(model.outputs["y"], alone.outputs["y"], atol=1e-6)


def test_a_script_begins_standing_and_never_jumps():
    repertoire = Repertoire(TEACHER, CLIPS, [1.0, 1.0])
    for seed in range(5):
        track = repertoire.track(np.random.default_rng(seed), 20.0)
        assert len(track) >= 20 * 50
        np.testing.assert_allclose(track[0, :29], TEACHER.default_pose, atol=1e-6)
        assert np.isfinite(track).all()
        assert np.abs(np.diff(track[:, :29], axis=0)).max() < 0.5, "a joint of the reference jumps"


def test_a_script_shows_the_controller_what_comes(folder):
    controller = Controller(TEACHER, Model(folder / "teacher.onnx"))
    repertoire = Repertoire(TEACHER, CLIPS, [1.0, 1.0])
    script = Script(repertoire, np.random.default_rng(0), 5.0)
    script.tick = 150
    script.fill(controller)
    now, ahead = controller.window.at(0).values.copy(), controller.window.at(1).values.copy()
    script.tick = 151
    script.fill(controller)
    np.testing.assert_array_equal(controller.window.at(0).values, ahead)
    assert np.abs(now - ahead).max() > 0


def test_commands_stay_in_range_and_change_gradually():
    velocity = load_manifest("holosoma-velocity")
    commands = Repertoire(velocity, [], []).commands(np.random.default_rng(0), 60.0)
    assert len(commands) >= 60 * 50
    assert np.abs(commands).max() <= 1.0
    assert np.abs(np.diff(commands, axis=0)).max() <= 2.0 / 24


def test_gathering_is_decided_by_its_seed(folder):
    first, again, other = (
        gather(*pupils(folder, 2, Hardship()), 40, teacher_share=0.5, noise=0.1, rng=np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.observations, again.observations)
    np.testing.assert_array_equal(first.actions, again.actions)
    assert (first.observations != other.observations).any()


def test_teacher_and_student_both_remember_the_action_that_was_executed(folder):
    robots, teaching, learning = pupils(folder, 1, CALM)
    gather(robots, teaching, learning, 5, teacher_share=0.0, noise=0.0, rng=np.random.default_rng(0))
    robot = robots[0]
    np.testing.assert_array_equal(robot.teacher.inputs.action, robot.student.inputs.action)
    assert np.abs(robot.student.inputs.action).max() > 0


def test_the_teacher_s_word_is_recorded_whoever_drives(folder):
    robots, teaching, learning = pupils(folder, 1, CALM)
    harvest = gather(robots, teaching, learning, 1, teacher_share=0.0, noise=0.0, rng=np.random.default_rng(0))
    robots, teaching, learning = pupils(folder, 1, CALM)
    robots[0].observe()
    teaching.run([robots[0].models[0]])
    np.testing.assert_array_equal(harvest.actions[0], robots[0].models[0].outputs["y"].reshape(-1))


def test_a_fallen_robot_begins_anew(folder):
    robots, teaching, learning = pupils(folder, 1, CALM)
    robot = robots[0]
    robot.robot.data.qpos[3:7] = [0.5, 0.5, 0.5, 0.5]
    robot.robot.step()
    assert robot.has_fallen()
    gather(robots, teaching, learning, 1, teacher_share=1.0, noise=0.0, rng=np.random.default_rng(0))
    assert robot.falls == 1
    assert not robot.has_fallen()


def test_hardship_changes_the_plant_and_the_next_episode_forgets_it(folder):
    robots, _, _ = pupils(folder, 1, replace(CALM, mass=0.1, friction=0.5))
    robot = robots[0]
    nominal = robot._nominal
    assert np.abs(robot.robot.model.body_mass / np.maximum(nominal[2], 1e-9) - 1).max() > 0.01
    for _ in range(20):
        robot.begin()
    ratio = robot.robot.model.body_mass[1:] / nominal[2][1:]
    assert 0.9 <= ratio.min() <= ratio.max() <= 1.1


def test_lessons_keep_the_newest_when_they_are_full():
    lessons, rng = Lessons(2, 1, 100), np.random.default_rng(0)
    for value in range(3):
        lessons.add(np.full((60, 2), value, np.float16), np.full((60, 1), value, np.float32), rng)
    assert lessons.size == 100
    _, actions = lessons.sample(rng, 5000)
    shares = [float((actions == value).float().mean()) for value in range(3)]
    assert shares[2] == pytest.approx(0.6, abs=0.05)
    assert min(shares) > 0


def test_fitting_learns_what_it_is_shown():
    torch.manual_seed(0)
    student, lessons, rng = Student(4, 2, (32,)), Lessons(4, 2, 4000), np.random.default_rng(0)
    seen = rng.normal(size=(4000, 4)).astype(np.float16)
    lessons.add(seen, np.stack([np.sin(seen[:, 0]), seen[:, 1] * seen[:, 2]], axis=1).astype(np.float32), rng)
    optimiser = torch.optim.Adam(student.parameters())
    before = fit(student, optimiser, lessons, 20, rate=3e-3, rng=rng, batch=256)
    for _ in range(5):
        after = fit(student, optimiser, lessons, 100, rate=3e-3, rng=rng, batch=256)
    assert after < 0.2 * before


class Broken(Exception):
    """Stands for a power cut."""


def test_a_course_that_was_broken_off_ends_as_if_it_had_not_been(folder, tmp_path):
    clip = str(find_clip("squat"))
    course = Course(
        teacher=str(CONTROLLERS / "twist2.json"), teacher_model=str(folder / "teacher.onnx"),
        student=str(folder / "student.json"), clips=((clip, 1.0),), plant=str(PLANT), rounds=2, workers=1, robots=1,
        ticks=30, steps=3, capacity=1000, hidden=(8,),
    )
    whole = Class(course, tmp_path / "whole", lambda done, line: None).run()

    def cut(done: float, line: str) -> None:
        raise Broken

    with pytest.raises(Broken):
        Class(course, tmp_path / "parts", cut).run()
    told: list[str] = []
    resumed = Class(course, tmp_path / "parts", lambda done, line: told.append(line)).run()
    assert told[0] == "going on after round 1"
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(Refused, match="another course"):
        Class(replace(course, seed=1), tmp_path / "parts", cut)


def _arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    distill_command.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(("words", "what"), [
    (("--minutes", "0"), "--minutes"), (("--minutes", "1e9"), "--minutes"), (("--rounds", "0"), "--rounds"),
    (("--rounds", "1", "--hidden", "64,x"), "--hidden"), (("--rounds", "1", "--history", "-1"), "--history"),
])
def test_a_course_that_makes_no_sense_is_refused(folder, tmp_path, words, what):
    args = _arguments("--teacher", "twist2", "--teacher-model", str(folder / "teacher.onnx"), "--motions", "squat",
                      "--out", str(tmp_path / "out"), *words)
    with pytest.raises(Refused, match=what):
        distill_command.run(args)
    assert not (tmp_path / "out").exists()


def test_a_tracker_without_motions_is_refused(folder, tmp_path):
    args = _arguments("--teacher", "twist2", "--teacher-model", str(folder / "teacher.onnx"), "--rounds", "1",
                      "--out", str(tmp_path / "out"))
    with pytest.raises(Refused, match="--motions"):
        distill_command.run(args)


def test_what_the_closing_evaluation_found_is_said():
    upright, fallen = {"fell": False, "joint_error_rad": 0.06}, {"fell": True, "joint_error_rad": 0.2}

    def verdict(second=upright, falls=0, late=upright):
        return distill_command.verdict({
            "clips": {"a": upright, "b": second}, "pushes": {"n_s": 15.0, "runs": 16, "falls": falls},
            "latency_20_ms": late,
        })

    line, fell = verdict()
    assert not fell and "fell on 0 of 2 motions, joint error 0.060 rad" in line
    line, fell = verdict(second=fallen)
    assert fell and "fell on 1 of 2 motions, joint error 0.060 rad" in line
    assert verdict(falls=1)[1] and verdict(late=fallen)[1]
    assert distill_command.verdict({"fell": True, "speed_m_s": 0.1}) == ("asked for 0.3 m/s: 0.10 m/s", True)
    assert distill_command.verdict({}) == ("", False)
