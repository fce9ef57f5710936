"""The learned estimator's network and its manifest."""

from __future__ import annotations

from typing import Any

import torch

from export.perceptron import Perceptron, onnx_bytes
from runtime.estimator_manifest import OUTPUTS, SCHEMA
from runtime.legs import Legs
from runtime.robot import Robot

HIDDEN = (128, 64)
HISTORY = 10
"""Control periods, the present one included: at 50 Hz a fifth of a second."""
MODEL_FILE, INPUT = "estimator.onnx", "observation"
FLOOR = 0.02
"""Of an input's spread in the normalisation."""
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


class EstimatorNetwork(Perceptron):
    """Corrects the filtered velocity and height, which must stand first in the observation.

    Args:
        inputs: size of the observation.
        hidden: sizes of the layers between.
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...] = HIDDEN) -> None:
        super().__init__(inputs, sum(OUTPUTS.values()), hidden)

    def raw(self, observation: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) -> (batch, 6): velocity in base (m/s), height (m), log-odds of contacts."""
        x = super().forward(observation)
        return torch.cat([x[:, :CORRECTED] + observation[:, :CORRECTED], x[:, CORRECTED:]], dim=1)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """(batch, inputs) -> (batch, 6): velocity in base (m/s), height (m), contacts (0 to 1)."""
        raw = self.raw(observation)
        return torch.cat([raw[:, :CORRECTED], torch.sigmoid(raw[:, CORRECTED:])], dim=1)

    def onnx(self) -> bytes:
        """The network as ONNX: one input, an output each of `OUTPUTS`."""
        nodes, constants = self.onnx_nodes(INPUT, "corrections")
        nodes += self._outputs(constants, "corrections")
        return onnx_bytes("estimator", nodes, constants, {INPUT: len(self.mean)}, OUTPUTS)

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
