"""Ways to compute a network: the runtime's backends, ONNX Runtime without its rewriting, ONNX's own reference
implementation in numpy, and the network it was exported from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from export.recording import Recording
from export.source_network import SourceNetwork
from runtime.backend import LoadedModel
from runtime.errors import Refused

Array = npt.NDArray[Any]


class Evaluator(Protocol):
    """One network, ready to compute."""

    def reset(self) -> None:
        """Forget state kept inside."""

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; the arrays are the caller's."""


class OnBackend:
    """Through the runtime's own code, as on a robot."""

    def __init__(self, network: LoadedModel) -> None:
        self._network = network

    def reset(self) -> None:
        """Nothing is kept inside."""

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        for name, values in feeds.items():
            self._network.inputs[name][...] = values
        self._network.run()
        return {name: values.copy() for name, values in self._network.outputs.items()}


class OnSession:
    """ONNX Runtime by names, whatever the outputs' types and sizes.

    Args:
        provider: an execution provider, refused when it is not really used.
        optimised: whether ONNX Runtime may rewrite the graph.
    """

    def __init__(self, onnx: bytes, provider: str = "CPUExecutionProvider", *, optimised: bool = False) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(onnx, options, providers=[provider])
        except Exception as error:  # onnxruntime raises its own family, of which no base is public
            raise Refused("network", expected="one this onnxruntime can load", found=str(error).splitlines()[0][:300],
                          what_to_do="export it again") from error
        if self._session.get_providers()[0] != provider:
            raise Refused("provider", expected=provider, found=", ".join(self._session.get_providers()),
                          what_to_do="repair the accelerator's installation")
        self._names = [node.name for node in self._session.get_outputs()]

    def reset(self) -> None:
        """Nothing is kept inside."""

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))


class InNumpy:
    """ONNX's reference implementation: slow, written for clarity, and shares no kernel with ONNX Runtime.

    Raises:
        Refused: an operator it does not have.
    """

    def __init__(self, onnx: bytes) -> None:
        from onnx import load_model_from_string
        from onnx.reference import ReferenceEvaluator

        try:
            self._evaluator: Any = ReferenceEvaluator(load_model_from_string(onnx))
        except Exception as error:  # raises many kinds for what it does not know
            raise Refused("onnx.reference", expected="operators it implements", found=str(error)[:300],
                          what_to_do="leave onnx-reference out of --backends") from error

    def reset(self) -> None:
        """Nothing is kept inside."""

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        with np.errstate(all="ignore"):  # it computes both branches of a choice
            outputs = self._evaluator.run(None, dict(feeds))
        return dict(zip(self._evaluator.output_names, (np.asarray(values) for values in outputs), strict=True))


class AsTrained:
    """The network as it came, before conversion: keeps its hidden state by itself."""

    def __init__(self, source: SourceNetwork, inputs: Iterable[str]) -> None:
        self._source, self._inputs = source, tuple(inputs)

    def reset(self) -> None:
        """Hidden state to zero."""
        self._source.reset()

    def compute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, without hidden state."""
        return self._source.step({name: feeds[name] for name in self._inputs})


def evaluate(recording: Recording, evaluator: Evaluator) -> dict[str, Array]:
    """Every output at every tick of a recording, hidden state carried along: name -> (ticks, *shape)."""
    rows: list[dict[str, Array]] = []
    for tick in range(recording.ticks):
        if recording.fresh[tick]:
            evaluator.reset()
        feeds = {name: values[tick] for name, values in recording.feeds.items()}
        feeds |= hidden_state(recording, rows[-1] if rows else {}, tick)
        rows.append(evaluator.compute(feeds))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def hidden_state(recording: Recording, before: Mapping[str, Array], tick: int) -> dict[str, Array]:
    """The hidden inputs of a tick, given the outputs of the one before."""
    return {
        name: before[output] if output in before and not recording.fresh[tick] else np.zeros(shape, np.float32)
        for name, (output, shape) in recording.hidden.items()
    }
