"""TorchScript as people export it: hidden state found under any name, lifted, and the same step by step."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from tests.torch_module import torch_or_skip

torch = torch_or_skip()
pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from torch import Tensor, nn

from export.source_network import Conversion
from export.torchscript import convert_torchscript, is_torchscript
from runtime.errors import Refused
from runtime.model import Model

INPUTS, HIDDEN, ACTIONS = 5, 6, 3


class InPlacePolicy(nn.Module):
    """State in buffers, written in place."""

    def __init__(self, layers: int = 1) -> None:
        super().__init__()
        self.memory = nn.LSTM(INPUTS, HIDDEN, layers)
        self.actor = nn.Sequential(nn.Linear(HIDDEN, 4), nn.ELU(), nn.Linear(4, ACTIONS))
        self.register_buffer("hidden_state", torch.zeros(layers, 1, HIDDEN))
        self.register_buffer("cell_state", torch.zeros(layers, 1, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        out, (h, c) = self.memory(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        return self.actor(out.squeeze(0))


class LstmPolicy(InPlacePolicy):
    """As unitree_rl_gym and legged_gym export one: with a reset of its own."""

    @torch.jit.export
    def reset_memory(self) -> None:
        self.hidden_state[:] = 0.0
        self.cell_state[:] = 0.0


class GruPolicy(nn.Module):
    """Two layers, state assigned, the buffer under another name and in a module below."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GruMemory()
        self.head = nn.Linear(HIDDEN, ACTIONS)

    def forward(self, observation: Tensor) -> Tensor:
        return torch.tanh(self.head(self.encoder(observation)))


class GruMemory(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(INPUTS, HIDDEN, 2)
        self.register_buffer("latent", torch.zeros(2, 1, HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        out, self.latent = self.rnn(x.unsqueeze(0), self.latent)
        return out.squeeze(0)


class HistoryPolicy(nn.Module):
    """No recurrent layer: the last four observations, and a count of calls as a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4 * INPUTS, ACTIONS)
        self.register_buffer("history", torch.zeros(4, INPUTS))
        self.calls = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        self.history = torch.cat([self.history[1:], x])
        self.calls = self.calls + 1
        return self.net(self.history.flatten().unsqueeze(0)) + torch.sin(self.calls)


class TuplePolicy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(INPUTS, ACTIONS)
        self.hidden: tuple[Tensor, Tensor] = (torch.zeros(1, ACTIONS), torch.zeros(1, ACTIONS))

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = self.cell(x, self.hidden)
        return self.hidden[0]


class LatePolicy(nn.Module):
    """State that is None until the first call."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.cell = nn.GRUCell(INPUTS, ACTIONS)
        self.h = torch.jit.Attribute(None, Optional[Tensor])  # noqa: UP045  the form that TorchScript reads
        self.start = start

    def forward(self, x: Tensor) -> Tensor:
        h = self.h
        if h is None:
            h = torch.zeros(1, 3) + self.start
        h = self.cell(x, h)
        self.h = h
        return h


def save(module: Any, folder: Path, *, traced: bool = False) -> Path:
    torch.manual_seed(3)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    path = folder / "policy.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        example = torch.ones(1, INPUTS)
        saved = torch.jit.trace(module, example, check_trace=False) if traced else torch.jit.script(module)
    saved.save(str(path))
    return path


def convert(path: Path, **options: Any) -> Conversion:
    return convert_torchscript(path, {"obs": INPUTS}, ["action"], [], **options)


def worst_error(path: Path, conversion: Conversion, steps: int = 1000) -> float:
    """Over one sequence from zero state; the original keeps its state as it was written to."""
    original, network = torch.jit.load(str(path)).eval(), Model(conversion.model.SerializeToString())
    if hasattr(original, "reset_memory"):
        original.reset_memory()
    observations = np.random.default_rng(4).normal(size=(steps, 1, INPUTS)).astype(np.float32)
    worst = 0.0
    for observation in observations:
        network.inputs["obs"][:] = observation
        network.run()
        with torch.no_grad():
            expected = original(torch.tensor(observation)).numpy()
        worst = max(worst, float(np.abs(network.outputs["action"] - expected).max()))
        for name_in, name_out in conversion.recurrent:
            network.inputs[name_in][...] = network.outputs[name_out]
    return worst


@pytest.mark.parametrize(("module", "pairs"), [
    (LstmPolicy(), [("hidden_state_in", "hidden_state_out"), ("cell_state_in", "cell_state_out")]),
    (LstmPolicy(3), [("hidden_state_in", "hidden_state_out"), ("cell_state_in", "cell_state_out")]),
    (GruPolicy(), [("encoder_latent_in", "encoder_latent_out")]),
    (HistoryPolicy(), [("history_in", "history_out"), ("calls_in", "calls_out")]),
    (TuplePolicy(), [("hidden_0_in", "hidden_0_out"), ("hidden_1_in", "hidden_1_out")]),
    (LatePolicy(), [("h_in", "h_out")]),
    (nn.Sequential(nn.Linear(INPUTS, 8), nn.ELU(), nn.Linear(8, ACTIONS)), []),
], ids=["lstm", "three layers", "gru below", "history", "tuple", "none at first", "no state"])
def test_state_is_lifted_and_every_step_is_the_same(tmp_path: Path, module: Any, pairs: list[tuple[str, str]]) -> None:
    path = save(module, tmp_path)
    conversion = convert(path)
    assert conversion.recurrent == pairs
    assert worst_error(path, conversion) <= 1e-5
    if pairs:  # without its state it is another network: the comparison above can fail
        conversion.recurrent = []
        assert worst_error(path, conversion, 50) > 1e-3


def test_what_tracing_left_in_the_state_is_refused_unless_told_to_begin_at_zero(tmp_path: Path) -> None:
    path = save(InPlacePolicy(), tmp_path, traced=True)
    with pytest.raises(Refused, match=r"_state`, `.*_state` saved with other values") as refusal:
        convert(path)
    assert "--start-from-zero" in refusal.value.what_to_do
    conversion = convert(path, start_from_zero=True)
    network = Model(conversion.model.SerializeToString())
    network.inputs["obs"][:] = 1
    network.run()
    with torch.no_grad():
        left_over = torch.jit.load(str(path))(torch.ones(1, INPUTS)).numpy()
        original = torch.jit.script(InPlacePolicy())
        original.load_state_dict(torch.jit.load(str(path)).state_dict())
        original.hidden_state.zero_()
        original.cell_state.zero_()
        np.testing.assert_allclose(network.outputs["action"], original(torch.ones(1, INPUTS)).numpy(), atol=1e-6)
    assert np.abs(network.outputs["action"] - left_over).max() > 1e-3


def test_state_left_by_a_call_is_what_its_own_reset_clears(tmp_path: Path) -> None:
    module = torch.jit.script(LstmPolicy())
    with torch.no_grad():
        module(torch.ones(1, INPUTS))
    module.save(str(tmp_path / "used.pt"))
    conversion = convert(tmp_path / "used.pt")
    assert worst_error(tmp_path / "used.pt", conversion) <= 1e-5


def test_names_of_the_manifest_are_used(tmp_path: Path) -> None:
    path = save(LstmPolicy(), tmp_path)
    wanted = [("h_in", "h_out"), ("c_in", "c_out")]
    conversion = convert_torchscript(path, {"obs": INPUTS}, ["actions"], wanted)
    assert conversion.recurrent == wanted
    assert [value.name for value in conversion.model.graph.output] == ["actions", "h_out", "c_out"]


def test_another_number_of_states_than_the_manifest_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="expected 1 tensors, as the manifest's `recurrent` has, found 2: hidden_state"):
        convert_torchscript(save(LstmPolicy(), tmp_path), {"obs": INPUTS}, ["action"], [("h_in", "h_out")])


class Several(nn.Module):
    def forward(self, proprioception: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        return proprioception[:, :2] - 2 * reference, reference + 1


def test_inputs_go_by_the_names_of_forward_and_outputs_get_names(tmp_path: Path) -> None:
    path = save(Several(), tmp_path)
    conversion = convert_torchscript(path, {"reference": 2, "proprioception": 4}, ["action"], [])
    network = Model(conversion.model.SerializeToString())
    network.inputs["proprioception"][:], network.inputs["reference"][:] = [[1, 2, 3, 4]], [[10, 20]]
    network.run()
    np.testing.assert_array_equal(network.outputs["action"], [[-19, -38]])
    np.testing.assert_array_equal(network.outputs["output_1"], [[11, 21]])


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(INPUTS, ACTIONS).half()).save(str(tmp_path / "half.pt"))
    network = Model(convert(tmp_path / "half.pt").model.SerializeToString())
    assert network.outputs["action"].dtype == np.float32


# ---- what cannot be lifted is refused


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        self.step += 1
        return x * float(self.step % 2)


class Growing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.zeros(1, INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, x])
        return self.seen.mean(0, keepdim=True)


class Sampling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape)


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return x
        return -x


class Eager(nn.Module):
    """State that starts at one, by its own reset too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.gain = self.gain * 0.9
        return x * self.gain

    @torch.jit.export
    def reset(self) -> None:
        self.gain = torch.ones(1, 1)


@pytest.mark.parametrize(("module", "words"), [
    (Counting(), "`step`, int, changes between calls"),
    (Growing(), r"`seen` grows from \[\(1, 5\)\] to \[\(5, 5\)\]"),
    (Sampling(), "the same answer to the same input and hidden state, found another one"),
    (Deciding(), "do not depend on the values of its inputs"),
    (Eager(), "`gain` saved with other values"),
    (LatePolicy(start=0.5), "`h` that is None at first and acts otherwise than zeros"),
])
def test_what_cannot_be_carried_over_is_refused(tmp_path: Path, module: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        convert(save(module, tmp_path))


def test_a_network_of_another_input_size_is_refused(tmp_path: Path) -> None:
    path = save(LstmPolicy(), tmp_path)
    with pytest.raises(Refused, match=r"a network that takes obs \(1, 6\)"):
        convert_torchscript(path, {"obs": 6}, ["action"], [])


def test_another_number_of_inputs_is_refused(tmp_path: Path) -> None:
    path = save(Several(), tmp_path)
    with pytest.raises(Refused, match="1 inputs, as the manifest has: obs, found 2: proprioception, reference"):
        convert_torchscript(path, {"obs": 4}, ["action"], [])


# ---- what a file may not do


class Writing(nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x


def test_a_program_that_writes_files_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    payload = tmp_path / "written"
    torch.jit.script(Writing(str(payload))).save(str(tmp_path / "bad.pt"))
    with pytest.raises(Refused, match=r"a program that uses torch\.save"):
        convert(tmp_path / "bad.pt")
    assert not payload.exists()
    torch.jit.load(str(tmp_path / "bad.pt"))(torch.ones(1))
    assert payload.exists(), "the payload works where it is let"


def test_an_operator_of_another_library_is_refused(tmp_path: Path) -> None:
    path = save(nn.Linear(INPUTS, ACTIONS), tmp_path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "foreign.pt", "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(name, data.replace(b"torch.linear", b"ops.evil.linear") if name.endswith(".py") else data)
    with pytest.raises(Refused, match=r"a program that uses ops\.evil"):
        convert(tmp_path / "foreign.pt")


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_file_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = save(LstmPolicy(), tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    assert not is_torchscript(path)
    with pytest.raises(Refused, match="damaged or cut short"):
        convert(path)


def test_torchscript_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    torch.save(LstmPolicy().state_dict(), tmp_path / "weights.pt")
    assert is_torchscript(save(LstmPolicy(), tmp_path))
    assert not is_torchscript(tmp_path / "weights.pt")
    (tmp_path / "text").write_text("no zip")
    assert not is_torchscript(tmp_path / "text")
