"""Chains that grow while a run follows them: the file, the motion, and robots in lock-step."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from runtime.chain import Chain, read_chain
from runtime.chain_command import append_to
from runtime.chain_watch import SETTLED_NS, ChainWatch
from runtime.errors import Refused
from runtime.followed_chain import END_NS, LEAD_FRAMES, PERIOD_NS, FollowedChain
from runtime.hand import HandModel, load_hand
from runtime.manifest_reader import load_manifest
from runtime.needs import stream_needs
from runtime.settings import RunSettings
from runtime.stitch import RATE_HZ

TRACKER = load_manifest("g1-tracker")
ROBOT = TRACKER.robot
SPEED = ROBOT.column("velocity_rad_s")


def chain_of(path: Path, *clips: str, done: bool = False) -> Path:
    for clip in clips:
        append_to(path, {"clip": clip})
    if done:
        append_to(path, None, is_done=True)
    return path


class Follow:
    """A followed chain on a clock of its own, with all it sends."""

    def __init__(self, path: Path, timeout_s: float | None = None, hands: HandModel | None = None) -> None:
        self.rows: list[Any] = []
        self.now_ns = 0
        self.chain = FollowedChain(path, TRACKER, "", stream_needs(TRACKER, "", has_hands=hands is not None)[0],
                                   lambda record: self.rows.append(record[0].copy()), 0, timeout_s, hands)

    def go_on(self, seconds: float, *, followed: bool = True, considers: bool = True) -> None:
        for _ in range(round(seconds * RATE_HZ)):
            if considers and self.now_ns % 100_000_000 == 0:
                self.chain.consider(self.now_ns)
            self.chain.look(self.now_ns, followed=followed)
            self.now_ns += PERIOD_NS

    def to_ending(self, left_s: float) -> None:
        while (self.chain.ending - self.chain.frame) * PERIOD_NS * 1e-9 > left_s:
            self.go_on(0.02)

    def check(self) -> None:
        """No joint faster than its limit, no velocity from nothing, no place jumped to."""
        q = np.array([row["joint_pos"] for row in self.rows], np.float64)
        steps = np.diff(q, axis=0) * RATE_HZ
        assert (np.abs(steps) <= SPEED * 1.001).all()
        assert np.abs(np.diff(steps, axis=0)).max() < 6.0
        place = np.diff([row["root_pos"] for row in self.rows], axis=0) * RATE_HZ
        assert np.abs(place).max() < 1.5 and np.abs(np.diff(place, axis=0)).max() < 0.5
        times = np.diff([int(row["source_ns"]) for row in self.rows])
        assert (times == PERIOD_NS).all()


# --- The file ---------------------------------------------------------------------------------------------------------


def test_appending_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = chain_of(tmp_path / "c.json", "walk")
    node = path.stat().st_ino
    append_to(path, {"clip": "wave", "repeats": 2})
    assert path.stat().st_ino != node and [entry["clip"] for entry in read_chain(path).entries] == ["walk", "wave"]
    assert [child.name for child in tmp_path.iterdir()] == ["c.json"]


def _append_some(path: Path) -> None:
    for _ in range(5):
        append_to(path, {"clip": "wave", "end_s": 0.5})


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = chain_of(tmp_path / "c.json", "walk")
    writers = [multiprocessing.get_context("spawn").Process(target=_append_some, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(read_chain(path).actions) == 11


@pytest.mark.parametrize(("words", "code", "actions"), [
    (["append", "c.json", "wave", "--repeats", "2", "--blend", "0.5"], 0, 2),
    (["append", "c.json", "wave", "--start", "100"], 2, 1),
    (["append", "c.json", "wave", "--repeats", "0"], 2, 1),
    (["append", "c.json", "nowhere"], 2, 1),
    (["append", "absent/c.json", "wave"], 2, 1),
    (["append", "c.json", "wave", "--done"], 0, 2),
    (["done", "c.json"], 0, 1),
    (["done", "other.json"], 2, 1),
    (["show", "c.json", "--json"], 0, 1),
])
def test_the_command_appends_what_a_run_would_play(
    words: list[str], code: int, actions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chain_of(tmp_path / "c.json", "walk")
    assert exoactor.main(["chain", *words]) == code
    chain = read_chain(tmp_path / "c.json")
    assert len(chain.actions) == actions and chain.is_done is (code == 0 and "done" in words[0] + words[-1])
    if chain.is_done:
        assert exoactor.main(["chain", "append", "c.json", "wave"]) == 2, "nothing comes behind the end"


def test_a_shipped_chain_is_not_written_to() -> None:
    from runtime.chain import find_chain

    with pytest.raises(Refused, match="a folder of yours"):
        append_to(find_chain("demo"), {"clip": "wave"})


def watch(path: Path) -> tuple[ChainWatch, Chain]:
    chain = read_chain(path)
    return ChainWatch(path, chain), chain


def test_news_are_told_once_and_what_is_the_same_is_none(tmp_path: Path) -> None:
    path = chain_of(tmp_path / "c.json", "walk")
    looker, _ = watch(path)
    assert looker.look(0) is None
    path.write_text(json.dumps(json.loads(path.read_text())))  # other bytes, the same chain
    assert looker.look(1) is None
    append_to(path, {"clip": "wave"})
    news = looker.look(2)
    assert news is not None and len(news.actions) == 2
    looker.entries = news.entries
    assert looker.look(3) is None
    append_to(path, None, is_done=True)
    ended = looker.look(4)
    assert ended is not None and ended.is_done


def test_a_half_written_file_is_waited_for_and_a_bad_one_refused_once(tmp_path: Path) -> None:
    path = chain_of(tmp_path / "c.json", "walk")
    looker, _ = watch(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    assert looker.look(0) is None and looker.look(SETTLED_NS - 1) is None
    with pytest.raises(Refused):
        looker.look(SETTLED_NS)
    assert looker.look(2 * SETTLED_NS) is None
    path.unlink()
    looker.look(3 * SETTLED_NS)
    with pytest.raises(Refused):
        looker.look(4 * SETTLED_NS)
    path.write_bytes(whole)
    assert looker.look(5 * SETTLED_NS) is None


@pytest.mark.parametrize("entries", [
    [{"clip": "squat"}, {"clip": "wave"}, {"clip": "bow"}],
    [{"clip": "walk", "repeats": 2}, {"clip": "wave"}, {"clip": "bow"}],
    [{"clip": "walk"}],
    [{"clip": "wave"}, {"clip": "walk"}, {"clip": "bow"}],
])
def test_what_was_taken_must_stay(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    path = chain_of(tmp_path / "c.json", "walk", "wave")
    looker, _ = watch(path)
    path.write_text(json.dumps({"format": "exoactor-chain/1", "actions": entries}))
    looker.look(0)
    with pytest.raises(Refused, match="as they were"):
        looker.look(SETTLED_NS)


# --- The motion -------------------------------------------------------------------------------------------------------


def test_it_begins_standing_and_does_not_move_before_it_is_followed(tmp_path: Path) -> None:
    follow = Follow(chain_of(tmp_path / "c.json", "walk"))
    follow.go_on(3.0, followed=False)
    assert follow.chain.frame == 0 and not follow.chain.is_over
    q = np.array([row["joint_pos"] for row in follow.rows])
    assert (q == q[0]).all() and not any(row["joint_vel"].any() for row in follow.rows)
    np.testing.assert_allclose(q[0][ROBOT.order.index_of(TRACKER.order)], TRACKER.default_pose, atol=1e-6)


def test_without_more_it_comes_to_stand_and_waits(tmp_path: Path) -> None:
    follow = Follow(chain_of(tmp_path / "c.json", "walk"))
    follow.go_on(20.0)
    last = follow.rows[-1]
    np.testing.assert_allclose(last["joint_pos"][ROBOT.order.index_of(TRACKER.order)], TRACKER.default_pose, atol=1e-6)
    assert not last["joint_vel"].any() and not follow.chain.is_over
    follow.check()


def test_appended_in_time_it_is_joined_to_the_last_action_else_it_begins_from_standing(tmp_path: Path) -> None:
    follow = Follow(chain_of(tmp_path / "c.json", "walk"))
    for clip, left_s, from_standing in (("wave", 0.5, False), ("walk", 0.15, True), ("squat", -3.0, True)):
        follow.to_ending(left_s) if left_s > 0 else follow.go_on(20.0)
        append_to(follow.chain._path, {"clip": clip})
        follow.go_on(0.2)
        taken = follow.chain.notes["actions"][-1]
        assert (taken["clip"], taken["from_standing"]) == (f"{clip}.npz", from_standing)
    follow.go_on(12.0)
    follow.check()


def test_appended_bit_by_bit_it_is_the_same_motion_as_all_at_once(tmp_path: Path) -> None:
    clips = ("walk", "turn_in_place", "wave")
    whole = Follow(chain_of(tmp_path / "whole.json", *clips))
    grown = Follow(chain_of(tmp_path / "grown.json", clips[0]))
    for clip in clips[1:]:
        grown.to_ending(1.0)
        append_to(tmp_path / "grown.json", {"clip": clip})
        grown.go_on(0.1)
    grown.go_on(20.0)
    whole.go_on(len(grown.rows) / RATE_HZ)
    for name in ("joint_pos", "joint_vel", "root_pos", "root_quat_wxyz"):
        np.testing.assert_array_equal(np.array([row[name] for row in whole.rows]),
                                      np.array([row[name] for row in grown.rows]))


def test_hands_are_told_what_an_appended_action_says_and_keep_it(tmp_path: Path) -> None:
    model = load_hand("dex3-1")
    follow = Follow(chain_of(tmp_path / "c.json", "bow"), hands=model)
    follow.to_ending(1.0)
    append_to(tmp_path / "c.json", {"clip": "wave", "hands": [{"hand": "left", "state": "closed", "at_s": 1.0}]})
    follow.go_on(10.0)
    told = np.array([row["channels"].reshape(2, 8) for row in follow.rows])
    seam_s = follow.chain.notes["actions"][1]["seam_s"]
    first = int(np.argmax(told[:, 0, 0]))
    assert not told[:, 1].any(), "nobody told the right one anything"
    assert seam_s + 0.4 <= first / RATE_HZ <= seam_s + 1.05  # a second into the clip, of which the cut takes some
    np.testing.assert_allclose(told[first:, 0, 1:], np.broadcast_to(model.states_rad[2, 0], (len(told) - first, 7)))


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"format": "exoactor-chain/1", "actions": [{"clip": "bow"}]}),
                                  json.dumps({"format": "exoactor-chain/1",
                                              "actions": [{"clip": "walk"}, {"clip": "wave", "start_s": 99}]})])
def test_a_refused_file_changes_nothing_and_is_noted(text: str, tmp_path: Path) -> None:
    plain, follow = (Follow(chain_of(tmp_path / name, "walk")) for name in ("plain.json", "c.json"))
    follow.go_on(2.0)
    (tmp_path / "c.json").write_text(text)
    follow.go_on(8.0)
    plain.go_on(10.0)
    assert len(follow.chain.notes["refused"]) == 1 and len(follow.chain.refusals) == 1
    assert all((a == b) for a, b in zip(plain.rows, follow.rows, strict=True))


def test_an_offer_that_is_overtaken_is_dropped_and_made_again(tmp_path: Path) -> None:
    follow = Follow(chain_of(tmp_path / "c.json", "walk"))
    follow.to_ending(0.3)
    append_to(tmp_path / "c.json", {"clip": "wave"})
    frame = follow.chain.frame
    follow.chain.consider(follow.now_ns)
    follow.chain.frame = frame + 3 * LEAD_FRAMES  # what a slow join would find
    follow.go_on(0.02, considers=False)
    assert len(follow.chain.notes["actions"]) == 1
    follow.go_on(0.4)
    assert follow.chain.notes["actions"][-1]["from_standing"]


def test_the_end_comes_when_it_is_done_or_nothing_more_comes(tmp_path: Path) -> None:
    done = Follow(chain_of(tmp_path / "done.json", "bow", done=True))
    done.go_on(3.6 + 0.9 + 0.8)
    assert not done.chain.is_over
    done.go_on(1.5 + END_NS * 1e-9)
    assert done.chain.is_over and done.chain.notes["ended"] == "done"
    waits = Follow(chain_of(tmp_path / "waits.json", "bow"), timeout_s=5.0)
    waits.go_on(9.0)
    append_to(tmp_path / "waits.json", {"clip": "bow"})
    waits.go_on(9.0)
    assert not waits.chain.is_over, "it waits anew after each action"
    waits.go_on(4.0)
    assert waits.chain.is_over and waits.chain.notes["ended"] == "no more came in time"


def test_a_chain_that_a_run_would_refuse_is_refused_before_anything_moves(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"format": "exoactor-chain/1", "actions": [{"clip": "walk", "start_s": 99}]}))
    with pytest.raises(Refused, match="take a part that is there"):
        Follow(path)


def test_rows_that_are_long_overdue_are_not_sent_in_a_burst(tmp_path: Path) -> None:
    follow = Follow(chain_of(tmp_path / "c.json", "walk"))
    follow.go_on(2.0)
    sent, frame = len(follow.rows), follow.chain.frame
    follow.now_ns += 10_000_000_000
    follow.go_on(0.02)
    assert len(follow.rows) == sent + 1 and follow.chain.frame == frame + 1


@pytest.mark.parametrize("words", [
    ["--clip", "walk", "--follow"], ["--chain", "demo", "--follow-timeout", "5"],
    ["--chain", "demo", "--follow", "--follow-timeout", "0"],
    ["--chain", "demo", "--follow", "--controller", "g1-velocity"],
])
def test_options_that_do_not_go_together_are_refused(words: list[str], tmp_path: Path) -> None:
    assert exoactor.main(["run", "--lockstep", "--out", str(tmp_path), *words]) == 2


def test_settings_keep_what_is_followed(tmp_path: Path) -> None:
    from dataclasses import replace

    from export.recorder import settings_for

    one = replace(settings_for("g1-tracker", clip="demo"), follow=True, follow_timeout_s=3.0)
    one.save(tmp_path / "s.json")
    assert RunSettings.load(tmp_path / "s.json") == one and one.is_streamed
