"""Symmetric systems of blocks in a band, solved by MuJoCo's Cholesky of band matrices.

Row i of the band ends with the diagonal; before it stand the elements to its left. Blocks of frames that are `apart`
lie in it as strided views.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


class Band:
    """The matrix of up to `frames` blocks of `size`, whose blocks further apart than one frame are diagonal.

    Args:
        reach: how many frames apart blocks are at most.

    Attributes:
        blocks: (frames, size, size) on the diagonal; what is right of their diagonals does not count.
        beside: (frames, size, size) left of those, of a frame and the one before it; the first means nothing.
    """

    def __init__(self, frames: int, size: int, reach: int) -> None:
        self._size, self._width = size, reach * size + 1
        self._rows = np.zeros((frames * size + 1, self._width))
        self.blocks, self.beside = self._view(frames, 0), self._view(frames, 1)
        self._columns = [self._rows[: frames * size, self._width - 1 - apart * size].reshape(frames, size)
                         for apart in range(reach + 1)]

    def _view(self, frames: int, apart: int) -> F64:
        flat, size = self._rows.reshape(-1), self._size
        strides = (size * self._width * 8, (self._width - 1) * 8, 8)
        return np.lib.stride_tricks.as_strided(
            flat[self._width - 1 - apart * size:], (frames, size, size), strides)

    def diagonals(self, apart: int) -> F64:
        """(frames, size) diagonals of the blocks that many frames before each: a view."""
        return self._columns[apart]

    def begin(self, blocks: F64) -> None:
        """The blocks (T, size, size) on the diagonal, and nothing beside them."""
        width, size = self._width, self._size
        self.blocks[: len(blocks)] = blocks  # their upper halves run over the rows below, and are cleared
        for row in range(size):
            self._rows[row : len(blocks) * size : size, : width - 1 - row] = 0

    def solve(self, right: F64) -> F64:
        """The solution (T, size) of the first T frames for right sides (T, size); the matrix is lost."""
        total, out = right.size, np.empty(right.size)
        mujoco.mju_cholFactorBand(self._rows[:total].reshape(-1), total, self._width, 0, 0.0, 0.0)
        mujoco.mju_cholSolveBand(out, self._rows[:total].reshape(-1), right.reshape(-1), total, self._width, 0)
        return out.reshape(right.shape)
