"""Parity with the TorchScript module a network was exported from, with hidden state inside it or outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from tests import test_parity, tiny_bundle
from tests.torch_module import torch_or_skip

torch = torch_or_skip()


def parity(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = exoactor.main(["export", "parity", *words, "--json", "--backends", "onnx-reference"])
    return code, json.loads(capsys.readouterr().out)


def script(module: Any, path: Path) -> str:
    torch.jit.script(module).save(str(path))
    return str(path)


class Tanh(torch.nn.Module):  # type: ignore[misc]
    """`tiny_bundle.network` in torch."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        weights = 0.1 * np.random.default_rng(0).standard_normal((tiny_bundle.SIZE, tiny_bundle.N))
        self.register_buffer("weights", torch.from_numpy(factor * weights).float())

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """The action."""
        return torch.tanh(obs @ self.weights)


class Inside(torch.nn.Module):  # type: ignore[misc]
    """`test_parity.summing` with its state in a buffer, as RL libraries script recurrent policies."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", torch.zeros(1, tiny_bundle.N))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """The action."""
        self.hidden[:] = self.hidden + 0.1 * obs
        return self.hidden.clone()


class Outside(torch.nn.Module):  # type: ignore[misc]
    """The same with its state as argument and result."""

    def forward(self, obs: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The action and the state."""
        new = hidden + 0.1 * obs
        return new, new


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0), (1.01, 1)])
def test_a_scripted_source_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, expected: int
) -> None:
    source = script(Tanh(factor), tmp_path / "policy.pt")
    bundle = tiny_bundle.make(tmp_path)
    code, report = parity(capsys, str(bundle), "--ticks", "20", "--source", source)
    assert (code, report["backends"]["source"]["ok"]) == (expected, expected == 0)
    assert report["backends"]["source"]["observations"] == test_parity.golden_ticks(bundle) + 20


@pytest.mark.parametrize("module", [Inside, Outside])
def test_a_recurrent_source_starts_anew_where_the_recording_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], module: Any
) -> None:
    source = script(module(), tmp_path / "policy.pt")
    bundle = str(test_parity.summing_bundle(tmp_path))
    code, report = parity(capsys, bundle, "--ticks", "20", "--source", source)
    assert code == 0
    assert report["backends"]["source"]["max_action_error"] <= 1e-5


def test_a_checkpoint_is_no_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    source = str(tmp_path / "checkpoint.pt")
    code, report = parity(capsys, str(tiny_bundle.make(tmp_path)), "--ticks", "5", "--source", source)
    assert (code, report["expected"]) == (2, "a TorchScript module (torch.jit.save)")
