"""A network without onnxruntime: named buffers, and a function between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class StubModel:
    """Stands in for `runtime.model.Model`.

    Args:
        inputs, outputs: name -> size.
        compute: fills `outputs` from `inputs` at each run; None leaves them.
    """

    def __init__(
        self, inputs: dict[str, int], outputs: dict[str, int], compute: Callable[[StubModel], None] | None = None
    ) -> None:
        self.inputs: dict[str, Any] = {name: np.zeros((1, size), np.float32) for name, size in inputs.items()}
        self.outputs: dict[str, Any] = {name: np.zeros((1, size), np.float32) for name, size in outputs.items()}
        self.runs = 0
        self._compute = compute

    def run(self) -> None:
        """One inference."""
        self.runs += 1
        if self._compute is not None:
            self._compute(self)
