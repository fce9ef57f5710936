"""One network of a controller: its inputs filled as its manifest lays them out, its hidden state carried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backend import LoadedModel
from runtime.errors import Refused
from runtime.observation import Observation, describe
from runtime.terms import TickInputs

F32 = npt.NDArray[np.float32]
Bound = tuple[Observation, F32, "tuple[float, float] | None"]


class Network:
    """A model bound to what fills it.

    Args:
        what: whose model it is, for refusals.
        entries: `inputs` of the manifest.
        recurrent: pairs (input, output) of hidden state.
        model: the network; sizes are checked against the manifest.
        inputs: what terms read.
        own: inputs that somebody else fills.

    Attributes:
        observations: per input: the observation, the model's buffer, bounds of the finished input or None.

    Raises:
        Refused: the network's inputs or hidden state are not those of the manifest.
    """

    def __init__(
        self, what: str, entries: tuple[dict[str, Any], ...], recurrent: tuple[tuple[str, str], ...],
        model: LoadedModel, inputs: TickInputs, own: tuple[str, ...] = (),
    ) -> None:
        self.what, self.model = what, model
        for name in own:
            if name not in model.inputs:
                raise self.mismatch(f"input {name}", f"inputs {', '.join(model.inputs)}")
        self._recurrent = self._bind_recurrent(recurrent)
        self.observations = self._bind_inputs(entries, {name for name, _ in recurrent} | set(own), inputs)

    def reset(self) -> None:
        """Forget histories and hidden state."""
        for observation, _, _ in self.observations:
            observation.reset()
        for state, _ in self._recurrent:
            state[:] = 0

    def fill(self) -> None:
        """The observations of this tick into the model's inputs."""
        for observation, buffer, clip in self.observations:
            observation.fill()
            if clip is not None:
                buffer[:] = np.clip(observation.values, clip[0], clip[1])
            elif observation.values is not buffer:
                buffer[:] = observation.values

    def carry(self) -> None:
        """Hidden state to the next tick."""
        for hidden, output in self._recurrent:
            hidden[:] = output

    def output(self, name: str | None) -> F32:
        """An output as a flat array, the first one for None."""
        name = name or next(iter(self.model.outputs))
        if name not in self.model.outputs:
            raise self.mismatch(f"output {name}", ", ".join(self.model.outputs))
        return np.asarray(self.model.outputs[name].reshape(-1))

    def mismatch(self, expected: str, found: str) -> Refused:
        """The error for a model of another manifest; to be raised by the caller."""
        return Refused(self.what, expected=expected, found=found,
                       what_to_do="this model and this manifest do not belong together")

    def _bind_recurrent(self, pairs: tuple[tuple[str, str], ...]) -> list[tuple[F32, F32]]:
        bound = []
        for name_in, name_out in pairs:
            if name_in not in self.model.inputs or name_out not in self.model.outputs:
                raise self.mismatch(f"recurrent state {name_in} <- {name_out}", "no such tensors")
            if self.model.inputs[name_in].shape != self.model.outputs[name_out].shape:
                raise self.mismatch(f"recurrent state {name_in} <- {name_out} of one shape",
                                    f"{self.model.inputs[name_in].shape} and {self.model.outputs[name_out].shape}")
            bound.append((self.model.inputs[name_in], self.model.outputs[name_out]))
        return bound

    def _bind_inputs(self, entries: tuple[dict[str, Any], ...], hidden: set[str], inputs: TickInputs) -> list[Bound]:
        free = [name for name in self.model.inputs if name not in hidden]
        if len(entries) != len(free):
            raise self.mismatch(f"{len(entries)} inputs", f"{len(free)} ({', '.join(free)})")
        bound: list[Bound] = []
        for i, entry in enumerate(entries):
            name = entry.get("name") or (free[0] if len(free) == 1 else None)
            if name not in free:
                raise self.mismatch(f"inputs[{i}].name among {', '.join(free)}", f"{name}")
            buffer = self.model.inputs[name].reshape(-1)
            clip = entry.get("clip")
            observation = Observation(entry["blocks"], inputs, inputs.joints, buffer if clip is None else None)
            if buffer.size != observation.values.size:
                raise Refused(
                    self.what,
                    expected=f"input `{name}` of {observation.values.size} numbers, as the manifest lays out:\n"
                    f"{describe(observation)}\n",
                    found=f"{buffer.size} numbers",
                    what_to_do="this model belongs to another manifest, or the manifest lacks or repeats a term",
                )
            bound.append((observation, buffer, None if clip is None else (float(clip[0]), float(clip[1]))))
        return bound
