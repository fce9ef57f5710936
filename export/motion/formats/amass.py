"""AMASS: SMPL-H (`poses`, `mocap_framerate`) and SMPL-X (`root_orient`, `pose_body`, `mocap_frame_rate`) archives.

Keys of a sample in vchoutas/smplx @ 1265df7 and of YanjieZe/GMR `utils/smpl.py` @ 4f9e8b7: the two kinds spell the
rate differently. The world is z-up; the root's rotation takes the y-up body into it.
"""

from __future__ import annotations

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of, real
from export.motion.smpl import from_vectors, smpl_motion
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

SUMMARY = "npz of AMASS: `poses`, or `root_orient` and `pose_body`, with `trans` and a rate"
RATES = ("mocap_framerate", "mocap_frame_rate", "fps")


def recognise(content: Content) -> bool:
    """By its keys; a rate may be missing."""
    keys = content.keys
    return content.kind == "npz" and "trans" in keys and (
        "poses" in keys or {"root_orient", "pose_body"} <= keys) and "format" not in keys


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion."""
    what, data = f"AMASS motion {content.path.name}", content.data
    if content.path.name.endswith("_stagei.npz"):
        raise Refused(what, expected="a motion", found="a shape alone (stage i)",
                      what_to_do="take the file that ends in _poses or _stageii")
    given = next((data[key] for key in RATES if key in data), None)
    fps = rate_of(what, options, given)
    if "pose_body" in data:
        body = real(what, data["pose_body"], (None, 63), "pose_body")
        root = real(what, data["root_orient"], (len(body), 3), "root_orient")
        model = "smplx"
    else:
        poses = real(what, data["poses"], (None, None), "poses")
        if poses.shape[1] not in (66, 72, 156, 165):
            raise Refused(what, expected="`poses` with 66, 72, 156 or 165 columns", found=f"{poses.shape[1]}",
                          what_to_do="export the motion again")
        root, body = poses[:, :3], poses[:, 3:66]
        model = {72: "smpl", 66: "smpl", 156: "smplh", 165: "smplx"}[poses.shape[1]]
    trans = real(what, data["trans"], (len(body), 3), "trans")
    betas = np.asarray(data.get("betas", np.zeros(10)), np.float64).reshape(-1)
    return smpl_motion(
        content.path.stem, fps, options, root_wxyz=from_vectors(root, 1)[:, 0], body_wxyz=from_vectors(body, 21),
        translation=trans, up=options.up or "z", betas=betas, model=model,
    )
