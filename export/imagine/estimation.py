"""The stage that sees: each video's human motion in SMPL form with the states of both hands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.imagine.film import videos_in
from export.imagine.set_up import Estimator
from export.imagine.stage import Work
from export.motion.content import ReadOptions
from export.motion.findings import Finding, accepted, refused, table
from export.motion.formats import read_motion
from export.motion.hands import with_hands
from export.motion.human_checks import check_human_motion
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, load_human_motion, save_human_motion
from runtime.realtime import die_with_parent

LOG = "estimator.log"
_TAIL = 400


def motion_name(i: int) -> str:
    """Of the i-th action, from 0."""
    return f"{i + 1:02d}.npz"


def motions_in(folder: Path) -> list[HumanMotion]:
    """The motions of the stage's folder, in order; refuses none, a gap, or another form."""
    paths = sorted(folder.glob("*.npz"))
    if not paths or [path.name for path in paths] != [motion_name(i) for i in range(len(paths))]:
        raise Refused(f"{folder}", expected=f"motions {motion_name(0)}, {motion_name(1)} and so on, one an action, as "
                      "`exoactor motion convert --to human` writes them",
                      found=", ".join(path.name for path in paths) or "none", what_to_do="name them so")
    return [load_human_motion(path) for path in paths]


class CommandEstimateStage:
    """Somebody else's estimator, started as a program on each video."""

    name, needs, file, version = "estimate", ("film",), motion_name(0), ""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.provider = Path(estimator.command[0]).name

    def settings(self) -> Any:
        """The command and what is taken of what it leaves."""
        return asdict(self._estimator)

    def check(self, folder: Path) -> None:
        """Motions in which nothing is broken."""
        for i, motion in enumerate(motions_in(folder)):
            refuse_broken(motion_name(i), check_human_motion(motion))

    def work(self, work: Work) -> None:
        """One video after the other."""
        for i, video in enumerate(videos_in(work.run.of("film"))):
            work.say(f"  motion {i + 1}")
            folder = work.out / f"{i + 1:02d}.tool"
            folder.mkdir()
            motion = estimate_by(self._estimator, video.resolve(), folder.resolve())
            save_human_motion(work.out / motion_name(i), motion)
            work.notes += [f"{video.name}: {note}" for note in motion.notes]


def estimate_by(estimator: Estimator, video: Path, out: Path) -> HumanMotion:
    """What a program sees in a video.

    Raises:
        Refused: it cannot be started, ends with an error or not at all, or leaves no such file.
    """
    words = [word.format(video=video, out=out) for word in estimator.command]
    what = f"estimator {Path(words[0]).name}"
    if shutil.which(words[0]) is None:
        raise Refused(what, expected="a program that can be started", found=f"nothing of that name: {words[0]}",
                      what_to_do="correct `command` of the settings file")
    with (out / LOG).open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   start_new_session=True, preexec_fn=_end_with_us)
        try:
            code: int | str = process.wait(estimator.timeout_s)
        except subprocess.TimeoutExpired:
            code = f"not over after {estimator.timeout_s:g} s"
        finally:
            if process.poll() is None:  # with all that it started
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code != 0:
        tail = (out / LOG).read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
        raise Refused(what, expected="an end with code 0", found=f"{code}: {tail}",
                      what_to_do=f"see {out / LOG}, mend it and go on")
    motion = read_motion(_only(what, out, estimator.result), estimator.format, ReadOptions())
    if not isinstance(motion, HumanMotion):
        raise Refused(what, expected="a human's motion", found="a robot's", what_to_do="correct `format`")
    return with_hands(motion, _only(what, out, estimator.hands)) if estimator.hands else motion


def _end_with_us() -> None:
    die_with_parent(signal.SIGKILL)


def _only(what: str, folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise Refused(what, expected=f"one file that fits {pattern}",
                      found=", ".join(path.name for path in found[:5]) or "none",
                      what_to_do="correct `result` or `hands` of the settings file")
    return found[0]


def refuse_broken(name: str, findings: Sequence[Finding]) -> None:
    """Refuses a motion with a finding that no later stage could mend."""
    if not accepted(findings):
        raise Refused(f"motion {name}", expected="a motion that `exoactor motion check` accepts",
                      found=table(refused(findings)),
                      what_to_do="estimate it anew, or repair it by hand and put it there with --replace estimate=PATH")
