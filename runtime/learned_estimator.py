"""Base velocity, height and foot contacts from a network over a short history of what the sensors said.

The classical filter runs along: its estimate and the odometry of each foot are among what the network may look at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from runtime.classical_estimator import ClassicalEstimator
from runtime.errors import Refused
from runtime.estimator_manifest import OUTPUTS, EstimatorManifest
from runtime.estimator_terms import ESTIMATE_SIZE
from runtime.model import Model
from runtime.network import Network
from runtime.reference import ReferenceWindow
from runtime.state import RobotState
from runtime.terms import TickInputs

F32 = npt.NDArray[np.float32]


class Sensed:
    """What terms of an estimator read, filled from a robot's state.

    Attributes:
        inputs: what an `Observation` is built on.
    """

    def __init__(self, manifest: EstimatorManifest) -> None:
        robot, joints = manifest.robot, len(manifest.order)
        self.inputs = inputs = TickInputs(
            manifest.default_pose, ReferenceWindow(joints, [0]), np.zeros(0, np.float32), joints=manifest.order.names
        )
        self._classical = ClassicalEstimator(robot, manifest.rate_hz)
        self._torque = inputs.reserve("joint_torque", joints)
        self._odometry = inputs.reserve("leg_odometry", len(self._classical.odometry.values))
        self._filtered = inputs.reserve("filtered", len(self._classical.values))
        motor, motors = robot.motor_index(manifest.order), robot.motors
        self._state_index = np.concatenate([motor, motor + motors, np.arange(10) + 3 * motors])
        self._torque_index = motor + 2 * motors

    def reset(self) -> None:
        """The next state is the first."""
        self._classical.reset()

    def update(self, floats: F32) -> None:
        """One state's numbers, `RobotState.floats`, all of them finite."""
        inputs = self.inputs
        floats.take(self._state_index, out=inputs.state, mode="clip")
        floats.take(self._torque_index, out=self._torque, mode="clip")
        self._classical.filter(floats)
        self._odometry[:], self._filtered[:] = self._classical.odometry.values, self._classical.values
        inputs.update()


class LearnedEstimator:
    """An estimator's network at work.

    Args:
        manifest: what to do.
        model: the network to do it with; sizes are checked against the manifest.

    Attributes:
        values: (6,) float32: base velocity in base (m/s), base height (m), contacts (0 to 1).
        network: the model and its observations.

    Raises:
        Refused: the network's inputs or outputs are not those of the manifest.
    """

    def __init__(self, manifest: EstimatorManifest, model: Model) -> None:
        self.manifest, self.name = manifest, manifest.name
        self._sensed = Sensed(manifest)
        self.network = Network(
            f"model of {manifest.name}", manifest.inputs, manifest.recurrent, model, self._sensed.inputs
        )
        self._outputs = [self.network.output(manifest.outputs[name]) for name in OUTPUTS]
        for (name, size), output in zip(OUTPUTS.items(), self._outputs, strict=True):
            if output.size != size:
                raise self.network.mismatch(f"{size} numbers in {name}", f"{output.size}")
        self._new = np.zeros(ESTIMATE_SIZE, np.float32)
        self.values: F32 = np.zeros(ESTIMATE_SIZE, np.float32)

    def reset(self) -> None:
        """Forget histories and hidden state; the next state is the first."""
        self._sensed.reset()
        self.network.reset()
        self.values[:] = 0

    def update(self, state: RobotState) -> None:
        """One period on. Numbers that are not finite, coming in or going out, leave the estimate as it was."""
        if not math.isfinite(float(state.floats.dot(state.floats))):
            return
        self._sensed.update(state.floats)
        self.network.fill()
        self.network.model.run()
        start = 0
        for output in self._outputs:
            self._new[start : start + output.size] = output
            start += output.size
        self.network.carry()
        if math.isfinite(float(self._new.dot(self._new))):
            self.values[:] = self._new


def record_estimates(estimator: LearnedEstimator, states: F32) -> dict[str, F32]:
    """Golden vectors: states (T, 3 motors + 10), and what a reset estimator made of them (T, 6); reset afterwards."""
    state = RobotState(estimator.manifest.robot.motors)
    estimator.reset()
    estimates = np.zeros((len(states), ESTIMATE_SIZE), np.float32)
    for i, floats in enumerate(states):
        state.floats[:] = floats
        estimator.update(state)
        estimates[i] = estimator.values
    estimator.reset()
    return {"state": np.asarray(states, np.float32), "estimate": estimates}


def check_estimates(estimator: LearnedEstimator, golden: Mapping[str, npt.NDArray[np.float32]], limit: float) -> float:
    """Replay golden vectors; the largest error (absolute up to 1, relative above).

    Raises:
        Refused: beyond `limit`, or a record of another kind.
    """
    what = f"golden vectors of estimator {estimator.name}"
    again = "export the bundle again"
    size = 3 * estimator.manifest.robot.motors + 10
    state, expected = golden.get("state"), golden.get("estimate")
    if state is None or expected is None or state.ndim != 2 or len(state) == 0 or state.shape[1] != size or (
        expected.shape != (len(state), ESTIMATE_SIZE) or not np.isfinite(state).all() or not np.isfinite(expected).all()
    ):
        raise Refused(what, expected=f"finite `state` (T, {size}) and `estimate` (T, {ESTIMATE_SIZE})",
                      found=", ".join(f"{name} {array.shape}" for name, array in golden.items()), what_to_do=again)
    found = record_estimates(estimator, state)["estimate"]
    error = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    tick, entry = (int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    if not error.max() <= limit:
        raise Refused(what, expected=f"{expected[tick, entry]:.7g} within {limit:g} at tick {tick}, entry {entry}",
                      found=f"{found[tick, entry]:.7g}", what_to_do=again)
    return float(error.max())
