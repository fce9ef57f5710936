"""Parity with what a network was exported from: TorchScript, with hidden state inside it, and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from export.bundle_writer import write_bundle
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


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0), (1.01, 1)])
def test_a_scripted_source_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, expected: int
) -> None:
    source = script(Tanh(factor), tmp_path / "policy.pt")
    bundle = tiny_bundle.make(tmp_path)
    code, report = parity(capsys, str(bundle), "--ticks", "20", "--source", source)
    assert (code, report["backends"]["source"]["ok"]) == (expected, expected == 0)
    assert report["backends"]["source"]["observations"] == test_parity.golden_ticks(bundle) + 20


def test_a_recurrent_source_starts_anew_where_the_recording_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = script(Inside(), tmp_path / "policy.pt")
    bundle = str(test_parity.summing_bundle(tmp_path))
    code, report = parity(capsys, bundle, "--ticks", "20", "--source", source)
    assert code == 0
    assert report["backends"]["source"]["max_action_error"] <= 1e-5


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 0), (1.01, 1)])
def test_a_checkpoint_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, expected: int
) -> None:
    from export.checkpoint_conversion import Choices, convert_checkpoint

    torch.manual_seed(0)
    first, last = torch.nn.Linear(tiny_bundle.SIZE, 8), torch.nn.Linear(8, tiny_bundle.N)
    layers = torch.nn.Sequential(first, torch.nn.Tanh(), last)
    torch.save({"model_state_dict": layers.state_dict()}, tmp_path / "trained.pt")
    onnx = convert_checkpoint(tmp_path / "trained.pt", "obs", "action", [], Choices("tanh")).model.SerializeToString()
    data = tiny_bundle.manifest()
    data["model"]["activation"] = "tanh"
    bundle = write_bundle(tmp_path / "bundle", data, {"policy.onnx": onnx})
    with torch.no_grad():
        last.weight *= factor
    torch.save({"model_state_dict": layers.state_dict()}, tmp_path / "given.pt")
    code, report = parity(capsys, str(bundle), "--ticks", "20", "--source", str(tmp_path / "given.pt"))
    assert (code, report["backends"]["source"]["ok"]) == (expected, expected == 0)


def test_a_source_that_is_no_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.pt").write_bytes(b"nonsense")
    bundle = str(tiny_bundle.make(tmp_path))
    assert parity(capsys, bundle, "--ticks", "5", "--source", str(tmp_path / "policy.pt"))[0] == 2
