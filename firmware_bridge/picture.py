"""Pictures of a plant, with or without a display: off-screen rendering, contact sheets and a PNG writer.

MuJoCo is imported inside the functions: a process that only needs `save_png` never loads it.
"""

from __future__ import annotations

import importlib
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.uint8]

_OFF_SCREEN = ("osmesa", "egl")
_MAX_GEOMS = 2000  # plants here have about 100; the rest is room for shadows, reflections and overlays
_SHEET_GAP_PX = 4
_WHITE = 255


class PictureError(RuntimeError):
    """A picture cannot be made; the message says what to install or change."""


def render(
    model_xml: str | os.PathLike[str],
    qpos: ArrayLike,
    size: tuple[int, int] = (640, 480),
    camera: str = "track",
) -> Image:
    """Picture of one pose, (height, width, 3) uint8 RGB.

    Args:
        model_xml: path of an MJCF file, or MJCF text (recognised by its leading "<").
        qpos: (nq,) generalized positions, the free joint's quaternion as (w, x, y, z).
        size: (width, height) in pixels.
        camera: name of a camera in the model.

    Raises:
        PictureError: no GL back end works, the camera is unknown, or qpos has the wrong length.
    """
    return render_poses(model_xml, [qpos], size, camera)[0]


def render_poses(
    model_xml: str | os.PathLike[str],
    poses: Iterable[ArrayLike],
    size: tuple[int, int] = (640, 480),
    camera: str = "track",
) -> list[Image]:
    """One picture per pose, as `render` gives; the model is compiled and the GL context made once."""
    import mujoco

    width, height = size
    model = _load(model_xml)
    camera_names = [model.camera(i).name for i in range(model.ncam)]
    if camera not in camera_names:
        raise PictureError(f"camera {camera!r} is not in the model, which has {camera_names}")
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    data = mujoco.MjData(model)
    scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
    option, no_perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
    view = mujoco.MjvCamera()
    view.type = mujoco.mjtCamera.mjCAMERA_FIXED
    view.fixedcamid = camera_names.index(camera)
    everything = mujoco.mjtCatBit.mjCAT_ALL.value
    area = mujoco.MjrRect(0, 0, width, height)
    images: list[Image] = []
    with _gl_context(size, model) as gl:
        for qpos in poses:
            pose = np.asarray(qpos, dtype=np.float64)
            if pose.shape != (model.nq,):
                raise PictureError(f"qpos has shape {pose.shape}, expected ({model.nq},) for this model")
            data.qpos[:] = pose
            mujoco.mj_forward(model, data)
            mujoco.mjv_updateScene(model, data, option, no_perturbation, view, everything, scene)
            mujoco.mjr_render(area, scene, gl)
            rows_from_below = np.empty((height, width, 3), dtype=np.uint8)
            mujoco.mjr_readPixels(rows_from_below, None, area, gl)
            images.append(np.ascontiguousarray(rows_from_below[::-1]))
    return images


def seen_bodies(
    model_xml: str | os.PathLike[str], poses: Iterable[ArrayLike], camera: str, bodies: Sequence[str],
) -> NDArray[np.bool_]:
    """(T, k) whether a camera sees a body's origin: the first thing on the way there is the body or one joined to it.

    Raises:
        PictureError: the camera or a body is not in the model.
    """
    import mujoco

    model = _load(model_xml)
    try:
        eye_id, numbers = model.camera(camera).id, [model.body(name).id for name in bodies]
    except KeyError as error:
        raise PictureError(f"not in the model: {error}") from error
    parents = [int(model.body_parentid[number]) for number in numbers]
    own = [{number, parent, *np.flatnonzero(model.body_parentid == number).tolist()}
           for number, parent in zip(numbers, parents, strict=True)]
    data, hit, out = mujoco.MjData(model), np.zeros(1, np.int32), []
    for qpos in poses:
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        eye, row = data.cam_xpos[eye_id], []
        for number, joined in zip(numbers, own, strict=True):
            mujoco.mj_ray(model, data, eye, data.xpos[number] - eye, None, 1, -1, hit)
            row.append(hit[0] < 0 or int(model.geom_bodyid[hit[0]]) in joined)
        out.append(row)
    return np.array(out, np.bool_).reshape(-1, len(numbers))


def contact_sheet(frames: Sequence[Image], columns: int) -> Image:
    """Frames of equal shape side by side, row by row, with thin white gaps; the last row may have blanks."""
    if columns < 1 or not frames:
        raise PictureError(f"a sheet needs frames and columns, got {len(frames)} frames, {columns} columns")
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise PictureError(f"frames of one sheet have one shape, got {sorted(shapes)}")
    height, width, channels = frames[0].shape
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    pitch_y, pitch_x = height + _SHEET_GAP_PX, width + _SHEET_GAP_PX
    shape = (rows * pitch_y - _SHEET_GAP_PX, columns * pitch_x - _SHEET_GAP_PX, channels)
    sheet = np.full(shape, _WHITE, dtype=np.uint8)
    for i, frame in enumerate(frames):
        row, column = divmod(i, columns)
        sheet[row * pitch_y :, column * pitch_x :][:height, :width] = frame
    return sheet


def save_png(path: str | os.PathLike[str], image: Image) -> None:
    """Writes an (h, w, 3) uint8 RGB image as PNG (RFC 2083: colour type 2, rows filtered with "Up")."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise PictureError(f"expected an (h, w, 3) uint8 image, found {image.shape} {image.dtype}")
    height, width, _ = image.shape
    rows = image.reshape(height, width * 3)
    # Each row minus the one above it, modulo 256: smooth pictures shrink by about half.
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filter_type = np.full((height, 1), 2, dtype=np.uint8)
    scanlines = np.hstack([filter_type, rows - above]).tobytes()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    Path(path).write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(scanlines, 9))
        + chunk(b"IEND", b"")
    )


def _load(model_xml: str | os.PathLike[str]) -> Any:
    import mujoco

    if isinstance(model_xml, str) and model_xml.lstrip().startswith("<"):
        return mujoco.MjModel.from_xml_string(model_xml)
    return mujoco.MjModel.from_xml_path(os.fspath(model_xml))


@contextmanager
def _gl_context(size: tuple[int, int], model: Any) -> Iterator[Any]:
    """MuJoCo's render context, current and off-screen, on the first GL back end that works; freed at the end.

    MuJoCo picks a back end once, when it is imported, perhaps by somebody else and without MUJOCO_GL. So the
    GL context is made here. MUJOCO_GL stays set to the choice, because MuJoCo's native loader reads it too.
    """
    import mujoco

    window: Any = None
    gl: Any = None
    tried: list[str] = []
    for backend in _backends():
        before = {name: os.environ.get(name) for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
        os.environ["MUJOCO_GL"] = backend
        try:
            window = importlib.import_module(f"mujoco.{backend}").GLContext(*size)
            window.make_current()
            gl = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
            break
        except Exception as error:  # each fails in its own way: ImportError, GLError, ...
            tried.append(f"{backend}: {type(error).__name__}: {error}")
            if window is not None:
                window.free()
                window = None
            _restore(before)
    if gl is None:
        raise PictureError(
            "no GL back end works (" + "; ".join(tried) + "). On Debian or Ubuntu install libosmesa6, or "
            "libegl1 and libgl1-mesa-dri; then leave MUJOCO_GL unset, or set it to osmesa or egl."
        )
    try:
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, gl)
        yield gl
    finally:
        gl.free()
        window.free()


def _backends() -> tuple[str, ...]:
    """Names of the MuJoCo back ends to try, in order; MUJOCO_GL, where set, is the only one."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in (*_OFF_SCREEN, "glfw", "cgl"):
        return (chosen,)
    if chosen in ("disable", "disabled", "off", "false", "0"):
        raise PictureError(f"MUJOCO_GL={chosen} switches rendering off: unset it, or set it to osmesa or egl")
    if sys.platform == "darwin":
        return ("cgl", "glfw")
    if sys.platform == "win32":
        return ("glfw",)
    # With a display too: GLFW on a dead display ends the process, and pictures need no window.
    return _OFF_SCREEN


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
