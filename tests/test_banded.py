"""Banded systems of blocks are solved as the dense ones that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from firmware_bridge.banded import Band


@pytest.mark.parametrize("reach", [2, 3])
@pytest.mark.parametrize("frames", [1, 4, 7])
def test_a_banded_system_is_solved_as_the_whole_one(reach: int, frames: int) -> None:
    random = np.random.default_rng(5)
    m, band = 4, Band(7, 4, reach)
    for _ in range(2):  # what the first system left behind does not count in the second
        whole = np.zeros((frames, m, frames, m))
        blocks, beside = random.normal(size=(frames, m, m)), random.normal(size=(frames, m, m))
        blocks = blocks @ blocks.swapaxes(1, 2) + 50 * np.eye(m)
        band.begin(blocks)
        band.beside[1:frames] = beside[1:]
        for t in range(frames):
            whole[t, :, t] = blocks[t]
            if t:
                whole[t, :, t - 1], whole[t - 1, :, t] = beside[t], beside[t].T
            for apart in range(2, min(reach, t) + 1):
                across = random.normal(size=m)
                band.diagonals(apart)[t] = across
                whole[t, :, t - apart] = whole[t - apart, :, t] = np.diag(across)
        right = random.normal(size=(frames, m))
        expected = np.linalg.solve(whole.reshape(frames * m, -1), right.reshape(-1))
        assert band.solve(right).reshape(-1) == pytest.approx(expected, abs=1e-12)


def test_rounding_does_not_grow_over_a_long_stiff_motion() -> None:
    random = np.random.default_rng(6)
    frames, m = 400, 8
    rows = random.normal(size=(frames, m, m)) * np.geomspace(200, 1, m)
    normal = rows.swapaxes(1, 2) @ rows + np.eye(m)
    bend = np.zeros((frames - 3, frames))
    for place, sign in enumerate((-1.0, 3.0, -3.0, 1.0)):
        bend[np.arange(frames - 3), np.arange(frames - 3) + place] = sign
    stiff = 1e5 * bend.T @ bend
    right, band = random.normal(size=(frames, m)), Band(frames, m, 3)
    band.begin(normal)
    for apart in range(4):
        band.diagonals(apart)[apart:] += np.diag(stiff, -apart)[:, None]
    found = band.solve(right)
    back = np.einsum("tij,tj->ti", normal, found) + stiff @ found
    assert back == pytest.approx(right, abs=1e-6)
