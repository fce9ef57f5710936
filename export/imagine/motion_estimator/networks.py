"""The motion estimator's three networks, in torch, and their ONNX files.

The finder sees the whole picture, small: where the person is and where the horizon is. The pose network sees the square
about the person: where each joint is (heat maps, whose mean place is taken as in Sun et al. 2018, "Integral human pose
regression") and, from that and what is left of the picture, how each joint is turned. The hands' network sees a square
about one hand, turned so that the arm points up and mirrored so that every hand is a left one.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from export.imagine.motion_estimator.layout import (
    CROP_SIDE,
    FINDER_OUTPUTS,
    FINDER_SIDE,
    HAND_OUTPUTS,
    HAND_SIDE,
    JOINTS,
    POSE_OUTPUTS,
    SHAPE,
    TURNED,
)
from export.onnx_graph import write_onnx
from export.torch_graph import trace

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _layer(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.first = _layer(size, size)
        self.second = nn.Sequential(nn.Conv2d(size, size, 3, 1, 1, bias=False), nn.BatchNorm2d(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return torch.relu(x + self.second(self.first(x)))


def _grid(rows: int, columns: int) -> torch.Tensor:
    """(rows columns, 2) middles of cells, x and y from -1 to 1."""
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows * 2 - 1, (torch.arange(columns) + 0.5) / columns * 2 - 1,
                          indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


class Finder(nn.Module):
    """(batch, 3, 60, 80) pictures, 0 to 1, to FINDER_OUTPUTS in a row."""

    grid: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_layer(3, 16, 5, 2), _layer(16, 32), _layer(32, 48, 3, 2), _Residual(48))
        self.heat = nn.Conv2d(48, 1, 1)
        self.small = nn.Sequential(_layer(48, 48, 3, 2), _layer(48, 16, 1))
        outputs = sum(FINDER_OUTPUTS.values())
        self.told = nn.Sequential(nn.Linear(16 * 8 * 10 + 2, 48), nn.ReLU(), nn.Linear(48, outputs))
        self.register_buffer("grid", _grid(15, 20), persistent=False)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """(batch, 4)."""
        x = self.body(picture - 0.5)
        heat = torch.softmax(self.heat(x).flatten(1).float(), dim=1)
        place = _mean_place(heat, self.grid)
        told = _exact(self.told, torch.cat([self.small(x).flatten(1), place], dim=1))
        return torch.cat([(place + 1) / 2 + 0.1 * told[:, :2], told[:, 2:]], dim=1)


class PoseNetwork(nn.Module):
    """(batch, 3, 128, 128) squares, 0 to 1, to POSE_OUTPUTS in a row."""

    grid: torch.Tensor
    usual: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_layer(3, 24, 5, 2), _layer(24, 48, 3, 2))
        self.middle = nn.Sequential(_layer(48, 96, 3, 2), _Residual(96), _Residual(96))
        self.deep = nn.Sequential(_layer(96, 112, 3, 2), _Residual(112), _Residual(112))
        self.down = nn.Conv2d(112, 96, 1)
        self.across = nn.Sequential(_layer(96, 96), nn.Conv2d(96, 48, 1))
        self.fine = _layer(48, 64)
        self.heat = nn.Conv2d(64, 2 * JOINTS, 1)
        self.rest = _layer(112, 20, 1)
        fine, deep = CROP_SIDE // 4, CROP_SIDE // 16
        self.told = nn.Sequential(nn.Linear(20 * deep**2 + 3 * JOINTS, 320), nn.ReLU(), nn.Linear(320, 256), nn.ReLU())
        self.last = nn.Linear(256, sum(POSE_OUTPUTS.values()) - 3 * JOINTS)
        self.register_buffer("grid", _grid(fine, fine), persistent=False)
        self.register_buffer("usual", torch.tensor([*_IDENTITY * TURNED, *[0.0] * (3 + len(SHAPE))]), persistent=False)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)

    def forward(self, square: torch.Tensor) -> torch.Tensor:
        """(batch, 211)."""
        fine = self.stem(square - 0.5)
        middle = self.middle(fine)
        deep = self.deep(middle)
        middle = torch.relu(middle + _twice(self.down(deep)))
        fine = self.fine(torch.relu(fine + _twice(self.across(middle))))
        heat, depth = _split(self.heat(fine).float().flatten(2), [JOINTS, JOINTS])
        share = torch.softmax(heat, dim=2)
        place, far = _mean_place(share, self.grid), (share * depth).sum(dim=2)
        joints = torch.cat([place, far[:, :, None]], dim=2).flatten(1)
        told = self.told(torch.cat([self.rest(deep).flatten(1), joints.to(deep.dtype)], dim=1))
        told = _exact(self.last, told) + self.usual
        turns, pelvis, rest = _split(told, [6 * TURNED, 2, 1 + len(SHAPE)])
        return torch.cat([turns, 0.1 * pelvis + place[:, 0], rest, joints], dim=1)


class HandNetwork(nn.Module):
    """(batch, 3, 40, 40) squares, 0 to 1, and (batch, 9) the hand's rotation in the square, to HAND_OUTPUTS, logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_layer(3, 24), _layer(24, 32, 3, 2), _Residual(32), _layer(32, 64, 3, 2),
                                  _Residual(64))
        self.rest = _layer(64, 16, 1)
        cells = (HAND_SIDE // 4) ** 2
        self.told = nn.Sequential(nn.Linear(16 * cells + 9, 64), nn.ReLU(), nn.Linear(64, sum(HAND_OUTPUTS.values())))

    def forward(self, square: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """(batch, 4)."""
        x = self.rest(self.body(square - 0.5)).flatten(1)
        return _exact(self.told, torch.cat([x, turn], dim=1))


def _mean_place(share: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """(..., 2) of shares (..., cells); not as a product of matrices, which autocast would round."""
    return torch.stack([(share * grid[:, 0]).sum(dim=-1), (share * grid[:, 1]).sum(dim=-1)], dim=-1)


def _exact(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A layer in float32 even where the rest is rounded: these numbers are angles and places."""
    with torch.autocast("cpu", enabled=False):
        return cast(torch.Tensor, layer(x.float()))


def _split(x: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, ...]:
    """Along the second axis."""
    split: Any = torch.split
    return tuple(split(x, sizes, dim=1))


def _twice(x: torch.Tensor) -> torch.Tensor:
    """(..., h, w) to (..., 2h, 2w), each cell four times."""
    b, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(b, c, h, 2, w, 2).reshape(b, c, 2 * h, 2 * w)


NETWORKS: Mapping[str, tuple[type[nn.Module], Mapping[str, tuple[int, ...]], str]] = {
    "finder": (Finder, {"picture": (3, *FINDER_SIDE)}, "found"),
    "pose": (PoseNetwork, {"square": (3, CROP_SIDE, CROP_SIDE)}, "told"),
    "hands": (HandNetwork, {"square": (3, HAND_SIDE, HAND_SIDE), "turn": (9,)}, "states"),
}
"""By name: its class, the shapes of its inputs without the batch, and its output."""


def onnx_of(name: str, network: nn.Module) -> bytes:
    """A network of NETWORKS as ONNX for a batch of one, its normalisations folded into the convolutions."""
    _, inputs, output = NETWORKS[name]
    contiguous: Any = copy.deepcopy(network).eval()
    plain = _folded(contiguous.to(memory_format=torch.contiguous_format))
    examples = {key: torch.linspace(0, 1, int(torch.Size(shape).numel())).reshape(1, *shape)
                for key, shape in inputs.items()}
    graph = trace(name, lambda *tensors: plain(*tensors), list(examples.values()))
    constants = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
    model = write_onnx(name, graph, examples, [output], constants)
    return bytes(model.SerializeToString())


def _folded(module: nn.Module) -> nn.Module:
    for key, child in module.named_children():
        if isinstance(child, nn.Sequential) and len(child) > 1 and isinstance(child[1], nn.BatchNorm2d):
            parts: list[Any] = list(child)
            fused = torch.nn.utils.fusion.fuse_conv_bn_eval(parts[0], parts[1])
            setattr(module, key, nn.Sequential(fused, *parts[2:]))
        else:
            setattr(module, key, _folded(child))
    return module
