"""DAgger (Ross, Gordon and Bagnell 2011) in simulation: gather with the student, fit it to its teacher, again.

Worker processes gather, this process fits. Everything random is decided by (seed, round, worker, robot), and every
round leaves its gathering and the student's weights in a work folder: a run that was cut off goes on where it was, and
a run of a fixed number of rounds can be repeated.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.rollout import Hardship, Harvest, Network, Pupil, gather, input_size
from export.script import Repertoire
from export.student import FLOOR, HIDDEN, Lessons, Student, fit
from runtime.clip import load_clip
from runtime.errors import Refused
from runtime.manifest_reader import load_manifest


@dataclass(frozen=True)
class Course:
    """What a student is taught, and how long.

    Attributes:
        teacher: manifest file; teacher_model: its ONNX file.
        student: manifest file of the student.
        clips: (file, weight) of every motion.
        plant: MJCF file.
        rounds: gatherings; 0 lets `minutes` decide.
        minutes: wall time of the rounds.
        robots, ticks: simulated robots a worker, control periods a round.
        steps: gradient steps after a round.
        capacity: rows kept.
    """

    teacher: str
    teacher_model: str
    student: str
    clips: tuple[tuple[str, float], ...]
    plant: str
    rounds: int = 0
    minutes: float = 0.0
    seed: int = 0
    workers: int = 2
    robots: int = 12
    ticks: int = 1000
    steps: int = 200
    capacity: int = 1_500_000
    hidden: tuple[int, ...] = HIDDEN


RATE_HIGH, RATE_LOW = 1e-3, 1e-6
FIRST_NOISE, NOISE = 0.15, 0.1
TEACHER_SHARE = (1.0, 0.5, 0.1)
"""How often the teacher drives: in the first round, in the second, and afterwards."""


def _rate(done: float) -> float:
    """Learning rate: the first six tenths of a cosine.

    It does not go down to nothing, and there is no closing fit without new gathering: that made the loss a third
    smaller and the student worse (measured: it then fell with 20 ms of latency where it had not before).
    """
    return RATE_LOW + 0.5 * (RATE_HIGH - RATE_LOW) * (1 + math.cos(math.pi * 0.6 * done))


def _work(course: Course, worker: int, pipe: Connection) -> None:
    """A worker: gathers a round whenever it is told the round and the student's network."""
    teacher, student = load_manifest(course.teacher), load_manifest(course.student)
    clips = [load_clip(path, teacher.robot) for path, _ in course.clips]
    repertoire = Repertoire(teacher, clips, [weight for _, weight in course.clips])
    teaching = Network(Path(course.teacher_model).read_bytes())
    pupils: list[Pupil] = []
    while True:
        order = pipe.recv()
        if order is None:
            return
        number, onnx, share, noise, ticks = order
        learning = Network(onnx)
        if not pupils:
            pupils = [
                Pupil(teacher, student, teaching.buffers(), learning.buffers(), Path(course.plant), repertoire,
                      Hardship()) for _ in range(course.robots)
            ]
        for i, pupil in enumerate(pupils):
            pupil.seed(course.seed, number, worker, i)
        rng = np.random.default_rng([course.seed, number, worker, len(pupils)])
        pipe.send(gather(pupils, teaching, learning, ticks, teacher_share=share, noise=noise, rng=rng))


class _Workers:
    """The gathering processes of a course."""

    def __init__(self, course: Course) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for worker in range(course.workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(course, worker, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def gather(self, *order: Any) -> list[Harvest]:
        """One round on all of them."""
        for pipe in self._pipes:
            pipe.send(order)
        try:
            return [pipe.recv() for pipe in self._pipes]
        except EOFError:
            raise Refused("distillation", expected="gathering processes that live", found="one that ended",
                          what_to_do="see its message above; the work folder lets the run go on") from None

    def close(self) -> None:
        """End them."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            if process.is_alive():
                pipe.send(None)
            process.join(10)


class Class:
    """A course under way.

    Args:
        course: what to do.
        work: folder for what a later start needs; one of another course is refused.
        tell: told (share done 0..1, one line) now and then.
    """

    def __init__(self, course: Course, work: Path, tell: Callable[[float, str], None]) -> None:
        self.course, self._work, self._tell = course, work, tell
        work.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(course.seed)
        student = load_manifest(course.student)
        self._joints, self._rate_hz = len(student.order), student.rate_hz
        self.curve: list[dict[str, float]] = []
        self._round, self._spent_s = 0, 0.0
        self._same_course()
        self.student = Student(input_size(student), self._joints, course.hidden)
        self._optimiser = torch.optim.Adam(self.student.parameters(), RATE_HIGH)
        self._lessons: Lessons | None = None

    def _same_course(self) -> None:
        path = self._work / "course.json"
        # the clips are named by what they are, not by where they lie this time
        mine = json.dumps({**asdict(self.course), "clips": [[Path(p).name, w] for p, w in self.course.clips]})
        if path.exists() and path.read_text(encoding="utf-8") != mine:
            raise Refused("work folder", expected=f"a course with the same settings in {self._work}",
                          found="another course", what_to_do="remove the folder, or give another --out")
        path.write_text(mine, encoding="utf-8")

    def run(self) -> Student:
        """All rounds; returns the student."""
        self._resume()
        workers = _Workers(self.course)
        began = time.monotonic() - self._spent_s
        try:
            while not self._is_enough(time.monotonic() - began):
                self._one_round(workers, began)
        finally:
            workers.close()
        return self.student

    def _is_enough(self, spent_s: float) -> bool:
        if self.course.rounds:
            return self._round >= self.course.rounds
        return self._round > 0 and spent_s >= self.course.minutes * 60

    def _share_done(self, spent_s: float) -> float:
        if self.course.rounds:
            return self._round / self.course.rounds
        return min(1.0, spent_s / (self.course.minutes * 60))

    def _one_round(self, workers: _Workers, began: float) -> None:
        course, number = self.course, self._round
        share = TEACHER_SHARE[min(number, len(TEACHER_SHARE) - 1)]
        noise = FIRST_NOISE if number < 2 else NOISE
        harvest = workers.gather(number, self.student.onnx(), share, noise, course.ticks)
        rng = np.random.default_rng([course.seed, number, 1 << 20])
        self._take(harvest, rng)
        assert self._lessons is not None
        rate = _rate(self._share_done(time.monotonic() - began))
        loss = fit(self.student, self._optimiser, self._lessons, course.steps, rate=rate, rng=rng)
        self._round += 1
        minutes = sum(len(part.actions) for part in harvest) / self._rate_hz / 60
        row = {
            "round": self._round, "samples": self._lessons.size, "loss": loss,
            "falls_per_minute": sum(part.falls for part in harvest) / minutes,
            "joint_error_rad": float(np.mean([part.joint_error_rad for part in harvest])),
            "seconds": time.monotonic() - began,
        }
        self.curve.append(row)
        self._save(harvest, number)
        self._tell(
            self._share_done(row["seconds"]),
            f"round {self._round}: {self._lessons.size} samples, loss {loss:.4f}, "
            f"{row['falls_per_minute']:.2f} falls a minute, joint error {row['joint_error_rad']:.3f} rad",
        )

    def _take(self, harvest: list[Harvest], rng: np.random.Generator) -> None:
        observations = np.concatenate([part.observations for part in harvest])
        if self._lessons is None:
            self._lessons = Lessons(observations.shape[1], self._joints, self.course.capacity)
            self.student.normalise_by(torch.from_numpy(observations.astype(np.float32)), FLOOR)
        self._lessons.add(observations, np.concatenate([part.actions for part in harvest]), rng)

    def _save(self, harvest: list[Harvest], number: int) -> None:
        part = self._work / f"round_{number:03d}.npz"
        with open(part.with_suffix(".tmp"), "wb") as file:
            np.savez(file, observations=np.concatenate([h.observations for h in harvest]),
                     actions=np.concatenate([h.actions for h in harvest]))
        part.with_suffix(".tmp").rename(part)
        state = {"student": self.student.state_dict(), "optimiser": self._optimiser.state_dict(),
                 "round": self._round, "curve": self.curve}
        torch.save(state, self._work / "state.tmp")
        (self._work / "state.tmp").rename(self._work / "state.pt")

    def _resume(self) -> None:
        path = self._work / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self._round, self.curve = state["round"], state["curve"]
        self._spent_s = self.curve[-1]["seconds"]
        for number in range(self._round):
            with np.load(self._work / f"round_{number:03d}.npz") as part:
                harvest = [Harvest(part["observations"], part["actions"], 0, 0.0)]
            self._take(harvest, np.random.default_rng([self.course.seed, number, 1 << 20]))
        self.student.load_state_dict(state["student"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._tell(0.0, f"going on after round {self._round}")
