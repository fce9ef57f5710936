"""The learned estimator's network and its manifest."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from runtime.estimator_manifest import OUTPUTS, SCHEMA
from runtime.legs import Legs
from runtime.robot import Robot

HIDDEN = (128, 64)
HISTORY = 10
"""Control periods, the present one included: at 50 Hz a fifth of a second."""
MODEL_FILE, INPUT = "estimator.onnx", "observation"
OPSET, IR_VERSION = 17, 8
CORRECTED = OUTPUTS["base_lin_vel"] + OUTPUTS["base_height"]


def estimator_manifest(name: str, robot: Robot, rate_hz: float) -> dict[str, Any]:
    """The `estimator.json` of a network that corrects the classical filter.

    It looks at the filter's estimate first of all, then at what IMU and legs said over the last `HISTORY` ticks, and at
    the joints as they are now.
    """
    history = {"length": HISTORY, "fill": "repeat"}
    return {
        "schema": SCHEMA,
        "name": name,
        "description": "Base velocity, height and foot contacts: the classical filter, corrected by a network that was "
        "trained in simulation",
        "robot": robot.name,
        "rate_hz": rate_hz,
        "joints": list(Legs(robot).joints.names),
        "model": {"file": MODEL_FILE},
        "inputs": [{"blocks": [
            {"terms": [
                {"term": "filtered"},
                {"term": "joint_pos"},
                {"term": "joint_vel", "scale": 0.1, "clip": [-30, 30]},
                {"term": "joint_torque", "scale": 0.02},
            ]},
            {"history": history, "terms": [
                {"term": "base_ang_vel"},
                {"term": "projected_gravity"},
                {"term": "base_accel", "scale": 0.1, "clip": [-40, 40]},
                {"term": "leg_odometry", "clip": [-5, 5]},
                {"term": "filtered"},
            ]},
        ]}],
    }


class EstimatorNetwork(torch.nn.Module):
    """Linear layers with ELU between, behind a fixed normalisation; they correct the filtered velocity and height.

    The filter's estimate must stand first in the observation.

    Args:
        inputs: size of the observation.
        hidden: sizes of the layers between.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, inputs: int, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        sizes = [inputs, *hidden, sum(OUTPUTS.values())]
        self._linear = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = torch.nn.ModuleList(self._linear)

    @property
    def last(self) -> torch.nn.Linear:
        """The layer that says how much to correct."""
        return self._linear[-1]

    def normalise_by(self, observations: torch.Tensor) -> None:
        """Take mean and spread of (N, inputs) as the normalisation; a floor keeps constant inputs quiet."""
        self.mean.copy_(observations.mean(dim=0))
        self.scale.copy_(1 / (observations.std(dim=0) + 0.02))

    def raw(self, observation: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) -> (batch, 6): velocity in base (m/s), height (m), log-odds of contacts."""
        x = (observation - self.mean) * self.scale
        for i, layer in enumerate(self._linear):
            x = layer(torch.nn.functional.elu(x) if i else x)
        return torch.cat([x[:, :CORRECTED] + observation[:, :CORRECTED], x[:, CORRECTED:]], dim=1)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) -> (batch, 6): velocity in base (m/s), height (m), contacts (0 to 1)."""
        raw = self.raw(observation)
        return torch.cat([raw[:, :CORRECTED], torch.sigmoid(raw[:, CORRECTED:])], dim=1)

    def onnx(self) -> bytes:
        """The network as ONNX: one input, an output each of `OUTPUTS`, normalisation in the first layer."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        nodes, constants, name = [], [], INPUT
        for i, layer in enumerate(self._linear):
            weight, bias = (value.detach().double() for value in (layer.weight, layer.bias))
            if i == 0:
                weight = weight * self.scale.double()
                bias = bias - weight @ self.mean.double()
            constants += [numpy_helper.from_array(weight.float().numpy(), f"weight_{i}"),
                          numpy_helper.from_array(bias.float().numpy(), f"bias_{i}")]
            nodes.append(helper.make_node("Gemm", [name, f"weight_{i}", f"bias_{i}"], [f"linear_{i}"], transB=1))
            name = f"elu_{i}"
            if i < len(self.layers) - 1:
                nodes.append(helper.make_node("Elu", [f"linear_{i}"], [name]))
        nodes += self._outputs(constants, f"linear_{len(self.layers) - 1}")

        def tensor(name: str, size: int) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])

        graph = helper.make_graph(
            nodes, "estimator", [tensor(INPUT, len(self.mean))], [tensor(*entry) for entry in OUTPUTS.items()],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="exoactor")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _outputs(self, constants: list[Any], last: str) -> list[Any]:
        """Nodes from the last layer to the outputs; what they need is appended to `constants`."""
        from onnx import helper, numpy_helper

        def sizes(name: str, *parts: int) -> str:
            constants.append(numpy_helper.from_array(torch.tensor(parts).numpy(), name))
            return name

        velocity, height, contact = OUTPUTS.values()
        filtered = sizes("filtered_sizes", velocity, height, len(self.mean) - CORRECTED)
        return [
            helper.make_node("Split", [last, sizes("sizes", velocity, height, contact)],
                             ["velocity_correction", "height_correction", "log_odds"], axis=1),
            helper.make_node("Split", [INPUT, filtered], ["filtered_velocity", "filtered_height", "rest"], axis=1),
            helper.make_node("Add", ["filtered_velocity", "velocity_correction"], ["base_lin_vel"]),
            helper.make_node("Add", ["filtered_height", "height_correction"], ["base_height"]),
            helper.make_node("Sigmoid", ["log_odds"], ["contact"]),
        ]
