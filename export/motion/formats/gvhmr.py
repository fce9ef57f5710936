"""GVHMR's and GENMO's (GEM's) results: SMPL-X body parameters in a gravity-aligned, y-up world, 30 frames a second.

Groups `smpl_params_global` (zju3dv/GVHMR `tools/demo/demo.py` @ 44fbc19) or `body_params_global` (NVlabs/GENMO @
b7d3b6b); a plain archive of one group's arrays is taken as well. What a camera saw (`*_incam`) is not used: its axes
are the camera's. GEM-X gives another skeleton (SOMA), which is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.motion.content import Content, ReadOptions, rate_of
from export.motion.smpl import joint_rotations, places, smpl_motion
from runtime.errors import Refused
from runtime.human_motion import HumanMotion

SUMMARY = "pt, pkl or npz of GVHMR or GENMO/GEM: `smpl_params_global` or `body_params_global`, or one such group"
GROUPS = ("smpl_params_global", "body_params_global")
ARRAYS = {"body_pose", "global_orient", "transl"}
FPS = 30.0
GROUND_QUANTILE = 5


def recognise(content: Content) -> bool:
    """By its groups."""
    return content.kind in ("torch", "pickle", "npz") and (
        any(group in content.keys for group in GROUPS) or content.keys >= ARRAYS)


def read(content: Content, options: ReadOptions) -> HumanMotion:
    """The motion in the world."""
    what, data = f"GVHMR motion {content.path.name}", content.data
    group: Any = next((data[name] for name in GROUPS if name in data), data)
    if "identity_coeffs" in group or "scale_params" in group:
        raise Refused(what, expected="SMPL-X parameters", found="GEM-X's SOMA skeleton of 77 joints",
                      what_to_do="let GEM write SMPL (its smpl_params.pt), or convert the skeleton where it was made")
    missing = sorted(ARRAYS - set(group))
    if missing:
        raise Refused(what, expected=f"`{'`, `'.join(sorted(ARRAYS))}`", found=f"no {', '.join(missing)}",
                      what_to_do="export the result again")
    body = joint_rotations(what, group["body_pose"], "body_pose", (21, 23))
    root = joint_rotations(what, group["global_orient"], "global_orient", (1,))
    if len(root) != len(body):
        raise Refused(what, expected="as many roots as bodies", found=f"{len(root)} and {len(body)}",
                      what_to_do="export the result again")
    betas = np.asarray(group.get("betas", np.zeros(10)), np.float64)
    return smpl_motion(
        content.path.stem, rate_of(what, options, group.get("fps", data.get("fps")), FPS), options,
        root_wxyz=root[:, 0], body_wxyz=body,
        translation=places(what, group["transl"], len(body), "transl"), up=options.up or "y",
        betas=betas.reshape(-1, betas.shape[-1]).mean(axis=0) if betas.size else None, model="smplx",
    )
