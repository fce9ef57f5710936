"""`exoactor motion show`: pictures, plots with limits, a page; and the viewer's controls, on a stand-in for viser."""

from __future__ import annotations

import struct
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

import exoactor
from export.motion import show
from export.motion.gif import save_gif
from export.motion.plots import plot
from export.motion.robot_motion import of_clip
from export.motion.show import MOST_GIF_FRAMES, SHEET_FRAMES, gif_rows, robot_plots, sheet_rows
from export.motion.stick_figure import LEFT, RIGHT, figures
from export.motion.viewer import Player, load_viser
from firmware_bridge.picture import PictureError
from firmware_bridge.posed import PLANTS
from runtime.clip import load_clip, save_clip
from runtime.errors import Refused
from runtime.human_motion import make_human_motion, save_human_motion
from runtime.robot import load_robot

ROBOT = load_robot("g1_29dof")
WALK = of_clip(load_clip("walk", ROBOT))
PLANT = PLANTS / "g1_29dof.xml"


def unpacked(data: bytes) -> list[int]:
    """LZW read by its definition, apart from the writer."""
    table, width, out, before = {i: [i] for i in range(256)}, 9, [], None
    following, at, total = 258, 0, int.from_bytes(data, "little")
    while True:
        code = total >> at & ((1 << width) - 1)
        at += width
        if code == 257:
            return out
        if code == 256:
            table, width, following, before = {i: [i] for i in range(256)}, 9, 258, None
            continue
        entry = table[code] if code in table else [*before, before[0]]
        out += entry
        if before is not None and following < 4096:
            table[following] = [*before, entry[0]]
            following += 1
            if following == 1 << width and width < 12:
                width += 1
        before = entry


def read_gif(raw: bytes) -> tuple[list[np.ndarray], list[int]]:
    """Frames as they stand on the screen, and their delays in 1/100 s."""
    assert raw[:6] == b"GIF89a" and raw[-1] == 0x3B
    width, height = struct.unpack("<HH", raw[6:10])
    palette = np.frombuffer(raw[13 : 13 + 768], np.uint8).reshape(256, 3)
    at, screen, frames, delays = 13 + 768, np.zeros((height, width, 3), np.uint8), [], []
    while raw[at] != 0x3B:
        if raw[at] == 0x21:
            if raw[at + 1] == 0xF9:
                delays.append(struct.unpack("<H", raw[at + 4 : at + 6])[0])
            at += 2
        else:
            at += 11
        data = b""
        while raw[at]:
            data += raw[at + 1 : at + 1 + raw[at]]
            at += 1 + raw[at]
        at += 1
        if len(frames) < len(delays) and raw[at - 1] == 0 and len(data) > 11:
            indices = np.array(unpacked(data)).reshape(height, width)
            screen = np.where((indices == 255)[..., None], screen, palette[indices])
            frames.append(screen)
    return frames, delays


def test_a_gif_shows_its_frames_again_within_the_palette_s_steps(tmp_path):
    rng = np.random.default_rng(3)
    base = np.repeat(np.repeat(rng.integers(0, 256, (12, 16, 3), np.uint8), 6, 0), 6, 1)
    frames = [base, np.roll(base, 5, axis=1), np.roll(base, 9, axis=0)]
    save_gif(tmp_path / "a.gif", frames, 10)
    shown, delays = read_gif((tmp_path / "a.gif").read_bytes())
    assert delays == [10, 10, 10] and len(shown) == 3
    for frame, picture in zip(frames, shown, strict=True):
        assert np.abs(frame.astype(int) - picture.astype(int)).max() <= 7  # five bits of each channel


def test_a_noisy_gif_outgrows_the_code_table_and_still_decodes(tmp_path):
    frame = np.repeat(np.random.default_rng(4).integers(0, 200, (120, 160, 1), np.uint8), 3, axis=2)
    save_gif(tmp_path / "n.gif", [frame], 1)
    (shown,), _ = read_gif((tmp_path / "n.gif").read_bytes())
    assert np.abs(frame.astype(int) - shown.astype(int)).max() <= 7


def test_a_gif_of_nothing_is_refused(tmp_path):
    with pytest.raises(Refused):
        save_gif(tmp_path / "a.gif", [], 10)


def test_plots_draw_limits_and_mark_what_is_beyond():
    t = np.arange(5) / 10
    inside = plot("q", t, [("q", np.array([0, 0.5, 1.0, 0.5, 0]), "red")], (0.0, 1.0))
    beyond = plot("q", t, [("q", np.array([0, 0.5, 1.1, 0.5, -0.1]), "red")], (0.0, 1.0))
    assert inside.count('class="limit"') == 2 and 'class="beyond"' not in inside
    assert beyond.count('class="beyond"') == 2


def test_every_joint_has_a_plot_with_its_range():
    plots = robot_plots(WALK, ROBOT)
    for name in WALK.order.names:
        (mine,) = [p for p in plots if f">{name}, rad<" in p]
        assert mine.count('class="limit"') == 2


def test_sheets_reach_from_the_first_frame_to_the_last():
    assert list(sheet_rows(100)[[0, -1]]) == [0, 99] and len(sheet_rows(100)) == SHEET_FRAMES
    assert list(sheet_rows(3)) == [0, 1, 2]


def test_moving_pictures_keep_real_time_and_a_bounded_number_of_frames():
    rows, fps = gif_rows(500, 50, 15)
    assert len(rows) <= MOST_GIF_FRAMES + 1 and len(rows) / fps == pytest.approx(10, abs=0.2)
    rows, fps = gif_rows(20, 10, 15)
    assert list(rows) == list(range(20)) and fps == 10


def human():
    local = np.zeros((20, 24, 4))
    local[..., 0] = 1
    local[:, 0] = (0.70710678, 0.70710678, 0, 0)
    pelvis = np.tile([0, 0, 0.96], (20, 1))
    pelvis[:, 0] = np.linspace(0, 0.2, 20)
    return make_human_motion("h", 30.0, local, pelvis)


def test_a_stick_figure_has_its_left_and_right_and_is_not_mirrored():
    (image,) = figures(human(), np.array([0]), (160, 120))
    left, right = (np.argwhere((image == np.array(colour)).all(axis=2)) for colour in (LEFT, RIGHT))
    assert len(left) > 50 and len(right) > 50
    # Facing -y, its left is +x; seen from where x comes nearer, left is on the picture's left.
    assert left[:, 1].mean() < right[:, 1].mean()


@pytest.fixture
def no_av(monkeypatch):
    """The moving picture is a GIF, whatever is installed."""
    monkeypatch.setattr(show, "load_av", lambda: None)


def test_a_human_is_shown_without_any_graphics(tmp_path, capsys, no_av):
    save_human_motion(tmp_path / "h.npz", human())
    out = tmp_path / "out"
    assert exoactor.main(["motion", "show", str(tmp_path / "h.npz"), "--out", str(out), "--size", "96x64"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "motion.gif", "sheet.png"]
    page = (out / "index.html").read_text("utf-8")
    assert 'src="motion.gif"' in page and 'src="sheet.png"' in page and "left_knee" in page


def test_a_robot_is_shown_with_its_verdict(tmp_path, capsys, no_av):
    jumping = WALK.root_pos[:8].copy()
    jumping[:2, 0] -= 1
    short = of_clip(load_clip("walk", ROBOT))
    motion = replace(short, joint_pos=short.joint_pos[:8], root_pos=jumping,
                     root_quat_wxyz=short.root_quat_wxyz[:8])
    save_clip(tmp_path / "w.npz", motion.to_clip())
    out = tmp_path / "out"
    try:
        code = exoactor.main(["motion", "show", str(tmp_path / "w.npz"), "--out", str(out), "--size", "64x48"])
    except PictureError as error:
        pytest.skip(f"no GL back end: {error}")
    if code:
        pytest.skip("no GL back end: " + capsys.readouterr().err[-200:])
    page = (out / "index.html").read_text("utf-8")
    assert "<b class=refused>refused</b>" in page and "root_speed" in page
    frames, _ = read_gif((out / "motion.gif").read_bytes())
    assert frames[0].std() > 5 and (frames[0] != frames[-1]).any()


@pytest.mark.parametrize(("arguments", "words"), [
    ([], "--out DIR or --viewer"),
    (["--out", "x", "--size", "10x10"], "32 to 4096"),
    (["--out", "x", "--size", "big"], "32 to 4096"),
    (["--out", "x", "--fps", "0"], "1 to 50"),
])
def test_options_that_show_nothing_are_refused(arguments, words, capsys):
    assert exoactor.main(["motion", "show", "walk", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_numbers_that_cannot_be_drawn_are_refused_with_their_frame(tmp_path, capsys):
    q = WALK.joint_pos.copy()
    q[7, 2] = np.nan
    np.savez(tmp_path / "n.npz", format="exoactor-clip/1", fps=50.0, joint_names=np.array(WALK.order.names),
             joint_pos=q, root_pos=WALK.root_pos, root_quat_wxyz=WALK.root_quat_wxyz)
    assert exoactor.main(["motion", "show", str(tmp_path / "n.npz"), "--out", str(tmp_path / "o")]) == 2
    assert "frame 7" in capsys.readouterr().err


def test_without_viser_the_viewer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(Refused, match="exoactor\\[show\\]"):
        load_viser()


class Handle(types.SimpleNamespace):
    """Whatever a scene or panel gives back."""


def stand_in():
    """A server whose handles are plain objects."""
    def handle(*args, **values):
        values.setdefault("value", values.get("initial_value", args[-1] if args else None))
        return Handle(**values)

    class Everything:
        def __getattr__(self, name):
            return handle

    return Handle(scene=Everything(), gui=Everything())


def clock():
    """Time that passes by a tick each time it is asked."""
    state = {"t": 0.0}

    def now():
        state["t"] += 0.02
        return state["t"]
    return now


@pytest.mark.parametrize("motion", [WALK, human()], ids=["robot", "human"])
def test_the_viewer_plays_at_the_motion_s_pace_and_stops_when_told(motion):
    player = Player(stand_in(), motion, PLANT)
    player.play(clock(), lambda seconds: None, ticks=5)
    assert player.frame == int(5 * 0.02 * motion.fps + 1e-9)
    player.playing.value = False
    player.frames.value = 3
    player.play(clock(), lambda seconds: None, ticks=4)
    assert player.frame == 3


def test_the_viewer_moves_the_shapes_to_where_the_body_is():
    player = Player(stand_in(), WALK, PLANT)
    player.draw(0)
    before = np.mean([part.position for part in player._parts], axis=0)
    player.draw(300)
    moved = np.mean([part.position for part in player._parts], axis=0) - before
    assert moved[:2] == pytest.approx((WALK.root_pos[300] - WALK.root_pos[0])[:2], abs=0.1)
