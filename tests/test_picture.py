"""Off-screen pictures, contact sheets and the PNG writer."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.picture import PictureError, contact_sheet, render, render_poses, save_png, seen_bodies

pytest.importorskip("mujoco")

ROOT = Path(__file__).parents[1]
PLANT = ROOT / "firmware_bridge" / "plants" / "g1_29dof.xml"
START = np.array([0, 0, 0.793, 1, 0, 0, 0] + [0] * 29, dtype=np.float64)
BALL = """<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size="0.3" rgba="1 0.2 0.1 1"/>
<camera name="eye" pos="0 -1.5 0" xyaxes="1 0 0 0 0 1"/></worldbody></mujoco>"""


def picture(*args, **kwargs):
    """`render`, or a skip with its reason where this machine has no GL back end."""
    try:
        return render(*args, **kwargs)
    except PictureError as error:
        if "no GL back end" in str(error):
            pytest.skip(str(error))
        raise


def decoded(path):
    """(h, w, 3) pixels of a PNG with colour type 2, undoing the row filters None, Sub and Up."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        chunks.append((kind, body))
        at += 12 + length
    assert chunks[0][0] == b"IHDR" and chunks[-1] == (b"IEND", b"")
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, colour, rest) == (8, 2, [0, 0, 0])
    lines = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    rows = np.frombuffer(lines, dtype=np.uint8).reshape(height, 1 + 3 * width)
    image = np.zeros((height, 3 * width), dtype=np.uint8)
    for y, (filter_type, line) in enumerate(zip(rows[:, 0], rows[:, 1:], strict=True)):
        if filter_type == 2:
            image[y] = line + (image[y - 1] if y else 0)
        elif filter_type == 1:
            image[y] = np.cumsum(line.reshape(-1, 3), axis=0, dtype=np.uint8).reshape(-1)
        else:
            assert filter_type == 0
            image[y] = line
    return image.reshape(height, width, 3)


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["track", "front"])
def test_plant_renders_a_robot_not_a_blank(camera):
    image = picture(PLANT, START, (64, 48), camera)
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert image.std() > 10
    lifted = START.copy()
    lifted[2] += 50  # the tracking camera follows, the front one loses the robot; the floor goes either way
    assert (picture(PLANT, lifted, (64, 48), camera) != image).mean() > 0.1


def test_rows_come_from_the_top():
    image = picture(PLANT, START, (64, 48), "front")
    sky, floor = image[:4].mean(), image[-4:].mean()
    assert sky > floor + 10


def test_pictures_are_repeatable_and_may_exceed_the_model_frame_buffer():
    once = picture(BALL, [], (700, 500), "eye")
    np.testing.assert_array_equal(once, picture(BALL, [], (700, 500), "eye"))
    centre, corner = once[250, 350], once[0, 0]
    assert centre[0] > 100 > corner[0] and centre[0] > 2 * int(centre[2])


@pytest.mark.slow
def test_poses_of_one_call_equal_single_pictures():
    bent = START.copy()
    bent[7:] = 0.3
    singles = [picture(PLANT, q, (64, 48), "track") for q in (START, bent)]
    for single, together in zip(singles, render_poses(PLANT, [START, bent], (64, 48), "track"), strict=True):
        np.testing.assert_array_equal(single, together)


def test_unknown_camera_is_refused_with_the_names_there_are():
    with pytest.raises(PictureError, match=r"'side' is not in the model.*track.*front|'side'.*front.*track"):
        render(PLANT, START, (64, 48), "side")


def test_pose_of_another_robot_is_refused():
    picture(BALL, [], (64, 48), "eye")
    with pytest.raises(PictureError, match=r"\(34,\), expected \(36,\)"):
        render(PLANT, START[:34], (64, 48), "track")


@pytest.mark.skipif(sys.platform != "linux", reason="MuJoCo chooses its GL back end differently elsewhere")
@pytest.mark.parametrize("display", [None, ":99"])
@pytest.mark.parametrize("first", ["", "import mujoco;"])
def test_no_setting_is_enough_even_on_a_dead_display_or_if_mujoco_came_first(first, display):
    picture(BALL, [], (64, 48), "eye")
    code = f"""{first}
from firmware_bridge.picture import render
print(render({BALL!r}, [], (64, 48), "eye").std() > 10)"""
    unset = ("DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    if display is not None:
        environment["DISPLAY"] = display
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True,
                           text=True, timeout=120, check=False)
    assert child.stdout.strip() == "True", child.stderr


def test_missing_back_end_says_what_to_install(monkeypatch):
    monkeypatch.setattr("firmware_bridge.picture._backends", lambda: ("no_such_back_end",))
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(PictureError, match="libosmesa6"):
        render(BALL, [], (64, 48), "eye")
    assert os.environ["MUJOCO_GL"] == "osmesa"  # a failed try leaves the environment as it was


def test_rendering_switched_off_is_said(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "off")
    with pytest.raises(PictureError, match="switches rendering off"):
        render(BALL, [], (64, 48), "eye")


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (48, 64, 3)])
def test_png_decodes_to_the_same_pixels(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(decoded(tmp_path / "a.png"), image)


def test_png_refuses_what_is_not_an_rgb_image(tmp_path):
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(PictureError, match="uint8 image"):
            save_png(tmp_path / "a.png", image)
    assert not (tmp_path / "a.png").exists()


def test_a_camera_sees_what_nothing_else_stands_before():
    body = '<body name="{0}" pos="{1}"><freejoint/><geom name="{0}" size="0.05"/><body name="{0}-end" pos="0 0 0.2">' \
           '<geom size="0.05"/></body></body>'
    model = ('<mujoco><worldbody><camera name="eye" pos="3 0 0" xyaxes="0 1 0 0 0 1"/>'
             + body.format("near", "1 0 0") + body.format("far", "-1 0 0") + "</worldbody></mujoco>")
    far = [-1, 0, 0, 1, 0, 0, 0]
    poses = [[1, 0, 0, 1, 0, 0, 0, *far], [1, 1, 0, 1, 0, 0, 0, *far]]
    seen = seen_bodies(model, poses, "eye", ["near", "near-end", "far"])
    assert seen.tolist() == [[True, True, False], [True, True, True]]
    with pytest.raises(PictureError, match="nobody"):
        seen_bodies(model, [], "eye", ["nobody"])


def test_contact_sheet_places_frames_row_by_row_and_leaves_the_rest_white():
    frames = [np.full((6, 8, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = contact_sheet(frames, 2)
    assert sheet.shape == (2 * 6 + 4, 2 * 8 + 4, 3)
    assert [int(sheet[3, 3, 0]), int(sheet[3, 15, 0]), int(sheet[13, 3, 0])] == [10, 20, 30]
    assert (sheet[10:, 12:] == 255).all() and (sheet[6:10] == 255).all() and (sheet[:, 8:12] == 255).all()
    assert contact_sheet(frames, 9).shape == (6, 3 * 8 + 2 * 4, 3)


def test_contact_sheet_refuses_nothing_and_mixed_sizes():
    frame = np.zeros((6, 8, 3), np.uint8)
    for frames, columns in (([], 2), ([frame], 0), ([frame, frame[1:]], 2)):
        with pytest.raises(PictureError):
            contact_sheet(frames, columns)
