"""How wrong the networks are, and their rotations and joints in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from export.imagine.motion_estimator.layout import GROUP, JOINTS, POSE_OUTPUTS, SHAPE, TURNED
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, PLAIN

Tensors = dict[str, torch.Tensor]
Network = Callable[..., torch.Tensor]
_PLAIN = torch.from_numpy(PLAIN.offsets_m).float()
_WHICH = torch.zeros(JOINTS, len(SHAPE))
for _joint, _name in enumerate(HUMAN_JOINTS):
    _WHICH[_joint, SHAPE.index(GROUP.get(_name.partition("_")[2], "trunk"))] = 1.0
_LIMBS = {"knee": 2.0, "ankle": 3.0, "foot": 3.0, "elbow": 2.0, "wrist": 3.0, "hand": 3.0}
_TURNS = {"": 2.0, "hip": 3.0, "knee": 3.0, "ankle": 2.0, "shoulder": 3.0, "elbow": 3.0, "wrist": 2.0}
_WHERE, _HOW = (torch.tensor([weights.get(name.partition("_")[2], 1.0) for name in HUMAN_JOINTS])
                for weights in (_LIMBS, _TURNS))
"""Of joints' places and of their rotations: what moves most is what tells one motion from another."""
FAR_M, FAR = 0.1, 0.3
"""From about there on errors count by their squares: with absolute ones alone, legs that walk in one frame of seven
were told to stand in all."""


def split_pose(told: torch.Tensor) -> Tensors:
    """The pose network's row, by POSE_OUTPUTS."""
    parts: Any = torch.split
    return dict(zip(POSE_OUTPUTS, parts(told, list(POSE_OUTPUTS.values()), dim=1), strict=True))


def matrices(turns: torch.Tensor) -> torch.Tensor:
    """(..., 6) first and second column, of any length and angle, to rotations (..., 3, 3)."""
    a, b = turns[..., :3], turns[..., 3:]
    x = functional.normalize(a, dim=-1)
    y = functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def place_joints(local: torch.Tensor, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints (batch, 24, 3) from the pelvis and rotations (batch, 22, 3, 3) of `local` ones and (batch, 4) SHAPE."""
    offsets = _PLAIN * torch.exp(shape @ _WHICH.T)[..., None]
    turned, placed = [local[:, 0]], [torch.zeros_like(offsets[:, 0])]
    for joint in range(1, JOINTS):
        parent = HUMAN_PARENTS[joint]
        placed.append(placed[parent] + (turned[parent] @ offsets[:, joint, :, None])[..., 0])
        if joint < TURNED:
            turned.append(turned[parent] @ local[:, joint])
    return torch.stack(placed, dim=1), torch.stack(turned, dim=1)


def finder_loss(network: Network, batch: Tensors) -> torch.Tensor:
    """Mean absolute error; the horizon's weighs most, because it turns the whole world."""
    wrong = (network(batch["picture"]) - batch["found"]).abs().mean(dim=0)
    weights = torch.tensor([1.0, 1.0, 0.5, 4.0])
    return (wrong * weights).sum()


def pose_loss(network: Network, batch: Tensors) -> torch.Tensor:
    """Places as seen, rotations alone and in the ray's axes, joints from the pelvis in m, window and shape."""
    told = split_pose(network(batch["square"]))
    local = matrices(told["turns"].reshape(-1, TURNED, 6))
    placed, turned = place_joints(local, told["shape"])
    _, truly = place_joints(batch["local"], batch["shape"])
    seen = _mean(told["joints"].reshape(-1, JOINTS, 3) - batch["seen"], _WHERE, FAR_M)
    pelvis = (told["pelvis"] - batch["seen"][:, 0, :2]).abs().mean()
    return (2.0 * (seen[0] + seen[1]) + seen[2] + pelvis
            + 4.0 * _mean(placed - batch["joints"], _WHERE, FAR_M).mean()
            + 0.5 * _mean((local - batch["local"]).flatten(2), _HOW[:TURNED], FAR).mean()
            + 0.5 * _mean((turned - truly).flatten(2), _HOW[:TURNED], FAR).mean()
            + (told["window"] - batch["window"]).abs().mean() + 0.3 * (told["shape"] - batch["shape"]).abs().mean())


def _mean(off: torch.Tensor, weights: torch.Tensor, far: float) -> torch.Tensor:
    """(d,) of errors (batch, joints, d): absolute where they are small, squares where they are large."""
    counted = (off.abs() + off * off / far).mean(dim=0)
    return weights @ counted / weights.sum()


def hands_loss(network: Network, batch: Tensors) -> torch.Tensor:
    """Cross entropy over hands that show a state."""
    said = network(batch["square"], batch["turn"])
    return functional.cross_entropy(said, batch["states"], ignore_index=-1)


LOSSES: Mapping[str, Callable[[Network, Tensors], torch.Tensor]] = {
    "finder": finder_loss, "pose": pose_loss, "hands": hands_loss}
