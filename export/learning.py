"""A course of training of one network, step by step; can be put down and taken up again at every report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from runtime.errors import Refused


@dataclass(frozen=True)
class Course:
    """How long to learn: `steps` of a batch each, from `seed`."""

    steps: int
    seed: int


class Learner(ABC):
    """Who learns; a kind of network says what a step is and where its chance comes from.

    Args:
        network: to be trained in place.
        course: how long.
        checkpoint: file to keep progress in; None keeps none.

    Attributes:
        step: done so far.
    """

    report_every: ClassVar[int]

    def __init__(
        self, network: torch.nn.Module, optimiser: torch.optim.Optimizer, course: Course, checkpoint: Path | None
    ) -> None:
        self._optimiser, self._course, self._checkpoint = optimiser, course, checkpoint
        self._learning, self.step = network, 0

    @abstractmethod
    def _learn(self) -> float:
        """One step; its loss."""

    @abstractmethod
    def _mark(self) -> dict[str, Any]:
        """What a checkpoint must have in common with this course to be taken up."""

    @abstractmethod
    def _chance(self) -> Any:
        """State of the random numbers, as a checkpoint keeps it."""

    @abstractmethod
    def _set_chance(self, kept: Any) -> None:
        """The same back from a checkpoint."""

    def resume(self) -> None:
        """Take up where the checkpoint was put down, if there is one.

        Raises:
            Refused: one of another course or network, or one that has learnt for longer than this course lasts.
        """
        if self._checkpoint is None or not self._checkpoint.is_file():
            return
        kept = torch.load(self._checkpoint, weights_only=True)
        if kept["mark"] != self._mark() or kept["step"] > self._course.steps:
            raise Refused(f"checkpoint {self._checkpoint}",
                          expected=f"one of this course {self._mark()}, of at most {self._course.steps} steps",
                          found=f"{kept['mark']} of {kept['step']} steps",
                          what_to_do="leave --resume out, or give the settings it began with")
        self._learning.load_state_dict(kept["network"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._set_chance(kept["random"])
        self.step = kept["step"]

    def run(self, report: Callable[[int, float], None], until: int | None = None) -> None:
        """To the end of the course, or to step `until`; `report` gets (steps done, mean loss since the last report)."""
        end = self._course.steps if until is None else min(until, self._course.steps)
        total, count = 0.0, 0
        while self.step < end:
            total, count = total + self._learn(), count + 1
            self.step += 1
            if self.step % self.report_every == 0 or self.step == end:
                self._keep()
                report(self.step, total / count)
                total, count = 0.0, 0

    def _keep(self) -> None:
        if self._checkpoint is None:
            return
        partial = self._checkpoint.with_suffix(".partial")
        torch.save({"mark": self._mark(), "step": self.step, "network": self._learning.state_dict(),
                    "optimiser": self._optimiser.state_dict(), "random": self._chance()}, partial)
        partial.replace(self._checkpoint)
