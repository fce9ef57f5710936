"""AMASS: SMPL-H (`poses`, `mocap_framerate`) and SMPL-X (`root_orient`, `pose_body`, `mocap_frame_rate`) archives.

Keys of a sample in vchoutas/smplx @ 1265df7 and of YanjieZe/GMR `utils/smpl.py` @ 4f9e8b7: the two kinds spell the
rate differently. The world is z-up; the root's rotation takes the y-up body into it.
"""

from __future__ import annotations

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of
from export.motion.smpl import joint_rotations, places, smpl_motion
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

SUMMARY = "npz of AMASS: `poses`, or `root_orient` and `pose_body`, with `trans` and a rate"
MODELS = {22: "smpl", 24: "smpl", 52: "smplh", 55: "smplx"}
"""By the number of joints in `poses`."""
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
        body = joint_rotations(what, data["pose_body"], "pose_body", (21,))
        root = joint_rotations(what, data["root_orient"], "root_orient", (1,))
        model = "smplx"
    else:
        poses = joint_rotations(what, data["poses"], "poses", tuple(MODELS))
        root, body, model = poses[:, :1], poses[:, 1:22], MODELS[poses.shape[1]]
    if len(root) != len(body):
        raise Refused(what, expected="as many roots as bodies", found=f"{len(root)} and {len(body)}",
                      what_to_do="export the motion again")
    trans = places(what, data["trans"], len(body), "trans")
    betas = np.asarray(data.get("betas", np.zeros(10)), np.float64).reshape(-1)
    return smpl_motion(
        content.path.stem, fps, options, root_wxyz=root[:, 0], body_wxyz=body,
        translation=trans, up=options.up or "z", betas=betas, model=model,
    )
