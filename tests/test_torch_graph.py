"""Torch operators as ONNX: the same numbers, and nothing written that is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.torch_module import torch_or_skip

torch = torch_or_skip()
pytest.importorskip("onnx", reason="missing dependency: onnx")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from torch import nn
from torch.nn import functional

from export.onnx_graph import write_onnx
from export.source_network import layers
from export.torch_graph import trace
from runtime.errors import Refused
from runtime.model import Model


def convert(function: Callable[..., Any], *shapes: tuple[int, ...], constants: Any = None) -> Any:
    examples = {f"x{i}": torch.rand(shape, generator=torch.Generator().manual_seed(i)) + 0.1
                for i, shape in enumerate(shapes)}
    graph = trace("network", function, list(examples.values()))
    returned = next(node for node in graph.graph.nodes if node.op == "output").args[0]
    count = len(returned) if isinstance(returned, list | tuple) else 1
    return write_onnx("network", graph, examples, [f"y{i}" for i in range(count)], constants or {})


def assert_same(function: Callable[..., Any], *shapes: tuple[int, ...], low: float = -2) -> None:
    model = convert(function, *shapes)
    network = Model(model.SerializeToString())
    generator = torch.Generator().manual_seed(9)
    for _ in range(5):
        inputs = [low + (2 - low) * torch.rand(shape, generator=generator) for shape in shapes]
        for array, tensor in zip(network.inputs.values(), inputs, strict=True):
            array[...] = tensor.numpy()
        network.run()
        with torch.no_grad():
            expected = function(*inputs)
        expected = list(expected) if isinstance(expected, list | tuple) else [expected]
        for found, tensor in zip(network.outputs.values(), expected, strict=True):
            assert found.shape == tuple(tensor.shape)
            np.testing.assert_allclose(found, tensor.numpy(), atol=1e-5, rtol=1e-5)


ACTIVATIONS = [
    nn.ELU(), nn.ELU(alpha=0.5), nn.ReLU(), nn.ReLU6(), nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.2), nn.SELU(),
    nn.CELU(0.7), nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.Softplus(), nn.Mish(),
    nn.Softplus(beta=3, threshold=2),
    nn.Softsign(), nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(-0.5, 0.7), nn.LogSigmoid(), nn.Softmax(dim=-1),
    nn.LogSoftmax(dim=-1), nn.PReLU(), nn.Threshold(0.1, 20.0), nn.Softmin(dim=-1),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations_are_the_same(activation: Any) -> None:
    assert_same(activation, (1, 7), low=-4)


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "arithmetic": (lambda x, y: (x + y, x - 2 * y, 3 - x, x * y, x / (y * y + 1), -x, (x * x) ** 1.5),
                   ((2, 3), (2, 3))),
    "alpha": (lambda x, y: torch.add(torch.sub(x, y, alpha=3), y, alpha=0.5), ((1, 4), (1, 4))),
    "broadcast": (lambda x, y: x[:, None] * y + 1, ((3,), (2,))),
    "roots": (lambda x: (torch.sqrt(x * x + 1), torch.rsqrt(x * x + 1), torch.log(x * x + 1), torch.exp(x)), ((1, 5),)),
    "angles": (lambda x: (torch.sin(x), torch.cos(x), torch.atan(x), torch.floor(x), torch.abs(x), torch.sign(x)),
               ((6,),)),
    "choices": (lambda x, y: torch.where(x > y, x, 2 * y) + (x <= 0.5).float() + ((x > 0) & (y > 0)).float(),
                ((5,), (5,))),
    "comparisons": (lambda x: ((x == x).float(), (x != 0).float(), (x >= 1).float(), (x < 1).float()), ((5,),)),
    "extremes": (lambda x, y: (torch.maximum(x, y), torch.minimum(x, y), x.clamp(-1, 1), x.clamp_min(0)),
                 ((4,), (4,))),
    "one bound": (lambda x: (x.clamp_max(0), x.clamp(min=-0.5), x.clamp(max=0.5)), ((4,),)),
    "tensor clamp": (lambda x: torch.clamp(x, -torch.arange(4.0), torch.arange(4.0) / 4), ((4,),)),
    "sums": (lambda x: (x.sum(), x.sum(1), x.mean(0, keepdim=True), x.mean(), x.amax(1), x.amin((0, 1))), ((3, 4),)),
    "spread": (lambda x: (x.var(1), x.std(1), torch.linalg.norm(x, dim=1), functional.normalize(x, dim=1)), ((3, 4),)),
    "places of extremes": (lambda x: (x.argmax(1), x.argmin(), x.argmax(0, keepdim=True)), ((3, 4),)),
    "shapes": (lambda x: (x.view(4, 3), x.flatten(), x.unsqueeze(1).squeeze(), x.t(), x.permute(1, 0)), ((3, 4),)),
    "slices": (lambda x: (x[1:], x[:, ::2], x[:, -2:], x[0], x[..., 3], x[:, 1:3] * 2), ((3, 4),)),
    "joins": (lambda x, y: (torch.cat([x, y], 1), torch.stack([x, y]), torch.cat([x[:, :0], y], 1)), ((2, 3), (2, 3))),
    "splits": (lambda x: (*x.split(2, 1), *x.chunk(3, 1), *x.unbind(0), *x.split([1, 5], 1)), ((2, 6),)),
    "copies": (lambda x: (x.repeat(2, 3), x.expand(4, 3), x.repeat_interleave(2, 1), x.roll(1, 1), x.flip(1)),
               ((1, 3),)),
    "picks": (lambda x: (x[:, [2, 0, 0]], x.index_select(0, torch.tensor([1])), x.gather(1, torch.ones(2, 1).long())),
              ((2, 3),)),
    "pads": (lambda x: functional.pad(x, (1, 2, 0, 1), value=0.5), ((2, 3),)),
    "products": (lambda x, y: (x @ y, torch.einsum("ij,jk->ik", x, y), x[0] @ y, torch.bmm(x[None], y[None])),
                 ((2, 3), (3, 4))),
    "written in place": (lambda x: x.clone().add_(1).mul_(x).clamp_(-1, 1), ((2, 3),)),
    "a row written in place": (lambda x, y: _assigned(x, y), ((3, 4), (4,))),
    "an argument given back": (lambda x: (x, x, x + 1), ((2,),)),
    "constants": (lambda x: (torch.ones(2), torch.zeros_like(x) + 2, x.new_full((2,), 3)), ((2,),)),
    "float64 inside": (lambda x: (x.double() * 3).float(), ((3,),)),
}


def _assigned(x: Any, y: Any) -> Any:
    out = x.clone()
    out[1] = y
    out[:, 2:] = 7
    out[0, :2] += y[:2]
    return out, out.sum()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_the_same(name: str) -> None:
    function, shapes = FUNCTIONS[name]
    assert_same(function, *shapes)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.layer(x.view(1, 5, 8))[:, -1]


@pytest.mark.parametrize(("module", "shape"), [
    (nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ELU(), nn.Linear(8, 2, bias=False)), (1, 4)),
    (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Dropout()), (1, 4)),
    (nn.Sequential(nn.Unflatten(1, (3, 10)), nn.Conv1d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()),
     (1, 30)),
    (nn.Sequential(nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 4, 3, groups=2), nn.Flatten()), (1, 32)),
    (nn.RMSNorm(5), (1, 5)),
    (Attention(), (1, 40)),
], ids=["layer norm", "batch norm", "conv1d", "conv2d", "rms norm", "attention"])
def test_layers_are_the_same(module: Any, shape: tuple[int, ...]) -> None:
    assert_same(module.eval(), shape)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("depth", [1, 2])
def test_recurrent_layers_are_the_same(kind: Any, depth: int) -> None:
    layer = kind(4, 6, depth).eval()
    states = 2 if kind is nn.LSTM else 1

    def step(x: Any, *state: Any) -> Any:
        out, after = layer(x, tuple(state) if states == 2 else state[0])
        return [out, *(after if isinstance(after, tuple) else (after,))]

    assert_same(step, (1, 1, 4), *[(depth, 1, 6)] * states)


def test_weights_keep_their_names_and_what_no_output_needs_is_gone() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Linear(8, 2)).eval()
    unused = nn.Linear(4, 4)

    def step(x: Any) -> Any:
        unused(x)
        return net(x)

    model = convert(step, (1, 4), constants={f"actor.{name}": value for name, value in net.named_parameters()})
    assert layers(model) == ["actor.0.weight 8 x 4", "actor.2.weight 2 x 8"]
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Elu", "Gemm"]
    assert {tensor.name for tensor in model.graph.initializer} == {
        "actor.0.weight", "actor.0.bias", "actor.2.weight", "actor.2.bias"}


def test_a_weight_named_like_an_input_keeps_the_input() -> None:
    weight = torch.full((1, 2), 3.0)
    model = convert(lambda x: x * weight, (1, 2), constants={"x0": weight})
    network = Model(model.SerializeToString())
    network.inputs["x0"][:] = 2
    network.run()
    np.testing.assert_array_equal(network.outputs["y0"], [[6, 6]])


def test_random_numbers_are_refused() -> None:
    with pytest.raises(Refused, match="which draws random numbers"):
        convert(lambda x: x + torch.randn(2), (1, 2))
    with pytest.raises(Refused, match="which draws random numbers"):
        convert(lambda x: functional.dropout(x, 0.5, training=True), (1, 2))


def test_a_decision_on_an_input_is_refused() -> None:
    with pytest.raises(Refused, match="do not depend on the values of its inputs"):
        convert(lambda x: x if x.sum() > 0 else -x, (1, 2))


def test_memory_outside_is_refused() -> None:
    memory = torch.zeros(1, 2)

    def remembers(x: Any) -> Any:
        memory.add_(x)
        return memory * 2

    with pytest.raises(Refused, match="is no attribute of it"):
        convert(remembers, (1, 2))


def test_an_operator_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"operators that this exporter can write as ONNX, found aten\._fft_r2c"):
        convert(lambda x: torch.fft.rfft(x).real, (1, 8))
