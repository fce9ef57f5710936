"""Kimodo's SMPL-X motions: local rotation matrices and root positions, y-up, 30 frames a second.

Its documented archive has `local_rot_mats` (T, J, 3, 3) and `root_positions`; J is 22 for SMPL-X. The SOMA skeleton
(77 joints) and the robot's (34) are refused: the first is another body, the second comes as CSV as well.
"""

from __future__ import annotations

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.smpl import from_matrices, smpl_motion
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

SUMMARY = "npz of Kimodo with 22 SMPL-X joints: `local_rot_mats` and `root_positions`"
FPS = 30.0


def recognise(content: Content) -> bool:
    """By its keys."""
    return content.kind == "npz" and {"local_rot_mats", "root_positions"} <= content.keys


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion."""
    what, data = f"Kimodo motion {content.path.name}", content.data
    matrices = real(what, data["local_rot_mats"], (None, None, 3, 3), "local_rot_mats")
    if matrices.shape[1] != 22:
        raise Refused(what, expected="22 joints (SMPL-X)", found=f"{matrices.shape[1]}",
                      what_to_do="let Kimodo write SMPL-X, or for a robot its CSV")
    quats = from_matrices(matrices)
    return smpl_motion(
        content.path.stem, rate_of(what, options, data.get("fps"), FPS), options, root_wxyz=quats[:, 0],
        body_wxyz=quats[:, 1:], translation=real(what, data["root_positions"], (len(quats), 3), "root_positions"),
        up=options.up or "y", model="smplx", is_pelvis=True,
    )
