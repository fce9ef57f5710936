"""A run's folder: stages that are kept, done anew, replaced by hand, damaged, interrupted, refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from export.imagine import film, words
from export.imagine.run_folder import BY_HAND, RunFolder
from export.motion import tasks
from export.motion.actor import Actor
from export.motion.video import save_mp4, video_facts
from runtime import rotation
from runtime.campaign.live_run import await_
from runtime.errors import Refused
from runtime.human_motion import load_human_motion, save_human_motion
from tests.provider_server import KEY, Server, provider_server

PLAN = {"actions": [{"verb": "hold", "object": "", "hand": "none", "duration_s": 1.0, "end_state": "stands still"},
                    {"verb": "wave", "object": "", "hand": "left", "duration_s": 4.0, "end_state": "arms hang"}]}
ESTIMATOR = """
import shutil, sys
video, out, source = sys.argv[1:]
number = video.rpartition("/")[2].partition(".")[0]
print("looking at", video)
shutil.copyfile(f"{source}/{number}.npz", f"{out}/result.npz")
"""


def film_bytes(tmp_path: Path, seconds: float) -> bytes:
    """A video's file that lasts so long."""
    frames = [np.full((48, 64, 3), 4 * i % 250, np.uint8) for i in range(round(10 * seconds))]
    save_mp4(tmp_path / "made.mp4", frames, 10.0)
    return (tmp_path / "made.mp4").read_bytes()


@pytest.fixture
def motions(tmp_path: Path) -> Path:
    """What the stand-in of an estimator sees."""
    folder = tmp_path / "motions"
    folder.mkdir()
    actor = Actor()
    for number in ("01", "02"):
        actor.hold(1.2)
        save_human_motion(folder / f"{number}.npz", actor.motion(number))
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Every provider, with keys for it."""
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "FAL_KEY"):
        monkeypatch.setenv(name, KEY)
    with provider_server() as served:
        served.text, served.video, served.polls = json.dumps(PLAN), film_bytes(tmp_path, 5), 0
        served.picture = words.PNG + b"a picture"
        yield served


@pytest.fixture
def settings(server: Server, motions: Path, tmp_path: Path) -> Path:
    """A settings file that names a provider for every stage."""
    program = tmp_path / "estimator.py"
    program.write_text(ESTIMATOR)
    at = {"base_url": server.url}
    data = {"schema": "exoactor-providers/1", "decompose": {"provider": "openai-chat", "usd_per_call": 0.01, **at},
            "embody": {"provider": "google-image", **at}, "film": {"provider": "fal-kling-v1", "usd_per_s": 0.1, **at},
            "estimate": {"command": [sys.executable, str(program), "{video}", "{out}", str(motions)],
                         "result": "result.npz"}}
    path = tmp_path / "providers.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Of a scene."""
    path = tmp_path / "scene.png"
    path.write_bytes(words.PNG + b"a scene")
    return path


class Imagine:
    """`exoactor imagine` with a folder and settings."""

    def __init__(self, out: Path, settings: Path, picture: Path) -> None:
        self.out, self._more = out, ["--providers", str(settings)]
        self._picture = picture

    def __call__(self, *more: str) -> int:
        """Go on."""
        return exoactor.main(["imagine", "--out", str(self.out), *self._more, *more])

    def begin(self, *more: str) -> int:
        """Begin with a task and a picture."""
        return self("wait, then wave", "--image", str(self._picture), *more)

    @property
    def rows(self) -> dict[str, Any]:
        """The manifest's."""
        return {row["stage"]: row for row in json.loads((self.out / "manifest.json").read_text())["stages"]}


@pytest.fixture
def imagine(settings: Path, picture: Path, tmp_path: Path) -> Imagine:
    """In a new folder."""
    return Imagine(tmp_path / "run", settings, picture)


def asked(server: Server) -> int:
    """How much had to be paid for."""
    return len(server.posts())


@pytest.mark.slow
def test_a_task_and_a_picture_become_a_chain(imagine: Imagine, server: Server, capsys: Any) -> None:
    assert imagine.begin() == 0
    assert "exoactor run --chain" in capsys.readouterr().out
    chain = json.loads((imagine.out / "chain.json").read_text())
    assert [row["clip"] for row in chain["actions"]] == ["assemble/clips/01.npz", "assemble/clips/02.npz"]
    assert exoactor.main(["chain", "show", str(imagine.out / "chain.json")]) == 0
    assert asked(server) == 4 and imagine.rows["film"]["cost_usd"] == pytest.approx(1.0)
    assert all(row["outputs"] and row["finished_utc"] for row in imagine.rows.values())
    written = b"".join(path.read_bytes() for path in imagine.out.rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert imagine() == 0 and asked(server) == 4  # all of it is kept
    sheet = imagine.out / "assemble/preview/01/sheet.png"
    assert sheet.read_bytes().startswith(words.PNG)


def test_every_video_begins_where_the_last_ended(imagine: Imagine, server: Server) -> None:
    assert imagine.begin("--stop-after", "film") == 0
    urls = [body["image_url"] for path, body in server.posts() if "/fal-ai/" in path]
    assert len(urls) == 2 and urls[0] != urls[1]


def test_a_failed_stage_says_how_to_go_on_and_nothing_is_paid_for_twice(imagine: Imagine, server: Server,
                                                                        capsys: Any) -> None:
    server.fails = True
    assert imagine.begin("--stop-after", "film") == 2
    said = capsys.readouterr().err
    assert "worker died" in said and f"--out {imagine.out}" in said and imagine.rows["film"]["error"]
    server.fails = False
    before = asked(server)
    assert imagine("--stop-after", "film") == 0
    assert asked(server) == before + 2  # the failed one again, and the second


@pytest.mark.parametrize("seconds", [0.5, 60.0])
def test_a_video_of_the_wrong_length_is_refused(seconds: float, imagine: Imagine, server: Server, tmp_path: Path,
                                                capsys: Any) -> None:
    server.video = film_bytes(tmp_path, seconds)
    assert imagine.begin("--stop-after", "film") == 2
    assert f"{seconds:.2f} s" in capsys.readouterr().err


def test_half_a_video_is_refused(imagine: Imagine, server: Server, capsys: Any) -> None:
    server.video = server.video[:400]
    assert imagine.begin("--stop-after", "film") == 2
    assert "whole video file" in capsys.readouterr().err


def test_an_answer_in_fences_is_read_and_nonsense_refused(imagine: Imagine, server: Server, capsys: Any) -> None:
    server.text = f"Here you are:\n```json\n{json.dumps(PLAN)}\n```"
    assert imagine.begin("--stop-after", "decompose") == 0
    server.text = "I would walk there."
    assert imagine("--from", "decompose", "--stop-after", "decompose") == 2
    assert "JSON" in capsys.readouterr().err


def test_own_files_take_a_stages_place_and_stay(imagine: Imagine, server: Server, tmp_path: Path) -> None:
    assert imagine.begin("--stop-after", "prompt") == 0
    own = tmp_path / "own"
    own.mkdir()
    for name in ("01.mp4", "02.mp4"):
        (own / name).write_bytes(film_bytes(tmp_path, 4))
    before = asked(server)
    assert imagine("--replace", f"film={own}", "--stop-after", "estimate") == 0
    assert asked(server) == before and imagine.rows["film"]["provider"] == BY_HAND
    assert imagine("--seed", "9", "--stop-after", "film") == 0
    assert imagine.rows["film"]["provider"] == BY_HAND
    assert imagine("--from", "film", "--stop-after", "film") == 0
    assert imagine.rows["film"]["provider"] == "fal-kling-v1"


def test_one_file_of_ones_own_gets_the_stages_name(imagine: Imagine, tmp_path: Path) -> None:
    assert imagine.begin("--stop-after", "scene") == 0
    plan = tmp_path / "mine.json"
    plan.write_text(json.dumps({"format": "exoactor-plan/1", "task": "wait", "actions": PLAN["actions"][:1]}))
    assert imagine("--replace", f"decompose={plan}", "--stop-after", "prompt") == 0
    assert len(words.load_prompts(imagine.out / "prompt")) == 1


@pytest.mark.parametrize("harm", ["change", "remove", "add"])
def test_a_file_that_is_not_what_a_stage_left_is_noticed(harm: str, imagine: Imagine, capsys: Any) -> None:
    assert imagine.begin("--stop-after", "prompt") == 0
    file = imagine.out / "decompose" / "plan.json"
    {"change": lambda: file.write_text("{}"), "remove": file.unlink,
     "add": lambda: (file.parent / "more.txt").write_text("x")}[harm]()
    assert imagine("--stop-after", "prompt") == 2
    said = capsys.readouterr().err
    assert "--replace decompose=" in said and "--from decompose" in said
    assert imagine("--from", "decompose", "--stop-after", "prompt") == 0


def test_another_task_does_again_what_depends_on_it(imagine: Imagine, server: Server) -> None:
    assert imagine.begin("--stop-after", "film") == 0
    before = asked(server)
    assert imagine("wave", "--stop-after", "film") == 0
    assert asked(server) > before and imagine.rows["scene"]["outputs"]


def test_one_changed_byte_of_any_stages_file_is_noticed(imagine: Imagine, server: Server, capsys: Any) -> None:
    assert imagine.begin("--stop-after", "report") == 0
    before = asked(server)
    files = [path for row in imagine.rows.values() for path in row["outputs"]]
    assert {path.partition("/")[0] for path in files} == {"scene", "decompose", "embody", "prompt", "film", "estimate",
                                                          "report"}
    for name in files:
        data = (imagine.out / name).read_bytes()
        (imagine.out / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert imagine("--stop-after", "report") == 2
        assert Path(name).name in capsys.readouterr().err
        (imagine.out / name).write_bytes(data)
    assert imagine("--stop-after", "report") == 0 and asked(server) == before


def test_a_run_that_was_killed_goes_on_at_its_stage_and_pays_nothing_twice(imagine: Imagine, server: Server,
                                                                            settings: Path, tmp_path: Path) -> None:
    program = tmp_path / "estimator.py"
    left = tmp_path / "left"
    program.write_text("import os, pathlib, signal, time\n"
                       f"pathlib.Path({str(left)!r}).write_text(str(os.getpid()))\n"
                       "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(100)\n")
    words = ["wait, then wave", "--out", str(imagine.out), "--providers", str(settings), "--image",
             str(tmp_path / "scene.png"), "--stop-after", "report"]
    died = subprocess.run([sys.executable, "-m", "exoactor", "imagine", *words], check=False,
                          cwd=Path(exoactor.__file__).parent)
    assert died.returncode == -signal.SIGKILL
    command = Path(f"/proc/{left.read_text()}/cmdline")
    await_(lambda: not command.exists() or not command.read_bytes(), 10.0, "the estimator's end")
    done = {name: row for name, row in imagine.rows.items() if row["outputs"]}
    assert list(done) == ["scene", "decompose", "embody", "prompt", "film"] and asked(server) == 4
    program.write_text(ESTIMATOR)
    assert imagine("--stop-after", "report") == 0
    assert asked(server) == 4 and all(imagine.rows[name] == row for name, row in done.items())
    assert imagine.rows["estimate"]["outputs"] and not list(imagine.out.glob(".*.part"))


def test_a_motion_that_the_robot_should_not_do_goes_no_further(imagine: Imagine, motions: Path, tmp_path: Path,
                                                                 capsys: Any) -> None:
    good = shutil.copytree(motions, tmp_path / "good")
    motion = load_human_motion(motions / "02.npz")
    local = motion.local_wxyz.copy()
    falling = rotation.quat_from_vector_many(np.linspace(0, 1.3, motion.frames)[:, None] * [0.0, 1.0, 0.0])
    local[:, 0] = rotation.multiply_many(falling, local[:, 0])
    save_human_motion(motions / "02.npz", replace(motion, local_wxyz=local))
    assert imagine.begin() == 2
    said = capsys.readouterr().err
    assert "action 2 (wave): implausible end pose: end_tilt" in said and "(limit 1.047) at 2.4" in said
    assert "--from film" in said and "--replace estimate=" in said and "report.html" in said
    report = json.loads((imagine.out / "report" / "report.json").read_text())
    assert [row["accepted"] for row in report["actions"]] == [True, False] and not report["accepted"]
    assert "refused" in (imagine.out / "report" / "report.html").read_text()
    assert any("refused: implausible end pose" in note for note in imagine.rows["report"]["notes"])
    assert not imagine.rows["assemble"]["outputs"] and not (imagine.out / "chain.json").exists()
    assert imagine("--replace", f"estimate={good}", "--stop-after", "report") == 0
    assert json.loads((imagine.out / "report" / "report.json").read_text())["accepted"]


def test_actions_in_another_order_go_no_further(imagine: Imagine, server: Server, motions: Path, capsys: Any) -> None:
    steps = [{"verb": "sit down", "object": "", "hand": "none", "duration_s": 4.0, "end_state": "sits"},
             {"verb": "wave", "object": "", "hand": "right", "duration_s": 4.0, "end_state": "arms hang"}]
    server.text = json.dumps({"actions": steps})
    for number, do in (("01", tasks.wave), ("02", tasks.sit_down)):
        actor = Actor()
        actor.hold(0.4)
        do(actor)
        actor.hold(0.4)
        save_human_motion(motions / f"{number}.npz", actor.motion(number))
    assert imagine.begin() == 2
    said = capsys.readouterr().err
    assert "the whole: wrong order of actions: order 2" in said and "sit down (action 1) is seen in motion 2" in said
    assert "implausible end pose: end_height" in said  # what should have been a wave ends on no seat


def test_a_moment_is_no_action(imagine: Imagine, motions: Path, capsys: Any) -> None:
    motion = load_human_motion(motions / "02.npz")
    motion = replace(motion, local_wxyz=motion.local_wxyz[:5], pelvis_m=motion.pelvis_m[:5], hand_states=None)
    save_human_motion(motions / "02.npz", motion)
    assert imagine.begin("--stop-after", "report") == 2
    assert "motion 02.npz: 0.08 s" in capsys.readouterr().err


def test_nobody_writes_the_report_by_hand(imagine: Imagine, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "report.json").write_text("{}")
    assert imagine.begin("--replace", f"report={tmp_path / 'report.json'}", "--stop-after", "scene") == 2
    assert "--replace: expected STAGE=PATH" in capsys.readouterr().err


def test_an_estimators_own_confidence_says_what_was_seen(imagine: Imagine, motions: Path, tmp_path: Path,
                                                         capsys: Any) -> None:
    assert imagine.begin("--stop-after", "film") == 0
    sure = np.ones((40, 24))
    sure[:, 22] = 0.2
    np.save(motions / "02.seen.npy", sure)
    assert imagine("--replace", f"estimate={motions}", "--stop-after", "report") == 0
    report = json.loads((imagine.out / "report" / "report.json").read_text())
    rows = [{row["check"]: row for row in one["findings"]} for one in report["actions"]]
    assert "unseen" not in rows[0] and rows[1]["unseen"]["verdict"] == "advice"
    np.save(motions / "02.seen.npy", sure[:, :3])
    assert imagine("--replace", f"estimate={motions}", "--stop-after", "report") == 2
    assert "(T, 24)" in capsys.readouterr().err


def test_an_estimator_that_fails_is_quoted(imagine: Imagine, settings: Path, motions: Path, capsys: Any) -> None:
    shutil.rmtree(motions)
    assert imagine.begin("--stop-after", "estimate") == 2
    assert "FileNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "said"), [
    ({"estimate": {"command": ["no-such-program", "{video}", "{out}"], "result": "x"}}, "no-such-program"),
    ({"estimate": {"command": [sys.executable], "result": "x"}}, "{video}"),
    ({"film": {"provider": "openai-chat"}}, "kind video"),
    ({"film": {"provider": "fal-kling-v1", "key": "secret"}}, "key"),
    ({"film": {"provider": "nobody"}}, "nobody"), ({"schema": "x"}, "exoactor-providers/1"), ({"smell": {}}, "smell"),
])
def test_settings_of_another_form_are_refused(change: dict[str, Any], said: str, imagine: Imagine, settings: Path,
                                              capsys: Any) -> None:
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **change}))
    assert imagine.begin("--stop-after", "estimate") == 2
    assert said in capsys.readouterr().err


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(Refused, match="neither"):
        RunFolder(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(Refused):
        RunFolder(tmp_path)


@pytest.mark.slow
def test_our_mannequin_acts_before_our_camera(tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "SIZE", (96, 72))
    settings.write_text(json.dumps({"schema": "exoactor-providers/1",
                                    "estimate": json.loads(settings.read_text())["estimate"]}))
    run = tmp_path / "run"
    assert exoactor.main(["imagine", "reach for the cup", "--out", str(run), "--providers", str(settings),
                          "--stop-after", "film"]) == 0
    facts = [video_facts(path) for path in film.videos_in(run / "film")]
    assert [(fact.width, fact.height, fact.fps) for fact in facts] == [(96, 72, 25.0)] * 2
    assert facts[0].duration_s > 2 and (run / "film" / "truth" / "02.npz").exists()
    seen = np.load(run / "film" / "truth" / "02.seen.npy")
    assert seen.shape == (facts[1].frames, 24) and seen[:, 15].all()  # nothing stands before the head
