"""An existing ONNX network, made fit for a bundle: one file, batch of one, nothing of the machine it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, shape_inference

from export.network_metadata import KNOWN_KEYS
from export.source_network import Array, Conversion
from runtime.errors import Refused
from runtime.model import Model

_PATH = re.compile(r"(?:^|[\s\"'=:(,\[])(?:/[\w.~-]+){2}|\b[A-Za-z]:\\|file://|~/")
"""What looks like a path of somebody's machine: two steps from the root, a drive, a home."""
_STATE_NAMES = (("_in", "_out"), ("_prev", "_next"), ("0", "n"), ("_0", "_n"), ("", "_out"))
"""How exporters name hidden state going in and coming out: h_in and h_out, h0 and hn."""


class OnnxSource:
    """The network as it came, on ONNX Runtime, hidden state kept here (`export.source_network.SourceNetwork`)."""

    def __init__(self, data: bytes, recurrent: Sequence[tuple[str, str]]) -> None:
        self._model, self._recurrent = Model(data), list(recurrent)

    def reset(self) -> None:
        """Zero the hidden state."""
        for name, _ in self._recurrent:
            self._model.inputs[name][...] = 0

    def step(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """One tick."""
        for name, values in inputs.items():
            self._model.inputs[name][...] = values
        self._model.run()
        hidden = {name for _, name in self._recurrent}
        out = {name: values.copy() for name, values in self._model.outputs.items() if name not in hidden}
        for name, output in self._recurrent:
            self._model.inputs[name][...] = self._model.outputs[output]
        return out


def convert_onnx(path: Path, manifest: dict[str, Any]) -> tuple[Conversion, dict[str, str]]:
    """An ONNX file for a bundle, and all the metadata it came with.

    Args:
        manifest: parsed `controller.json`: `recurrent`, and `inputs` where hidden state has to be told from them.

    Raises:
        Refused: no ONNX network, weights elsewhere, or another batch than one.
    """
    what = f"network {path.name}"
    model = load_onnx(path)
    original = model.SerializeToString()
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    dynamic = _fix_sizes(what, model)
    named = manifest.get("model", {}).get("metadata") if isinstance(manifest.get("model"), dict) else None
    removed = _strip(model, KNOWN_KEYS | set(map(str, named.values())) if isinstance(named, dict) else KNOWN_KEYS)
    recurrent = _recurrent(model, manifest)
    facts = {
        "hidden state": ", ".join(f"{a} <- {b}" for a, b in recurrent) or "none",
        "sizes made fixed": ", ".join(dynamic) or "none",
        "metadata read": ", ".join(sorted(set(metadata) & KNOWN_KEYS)) or "none",
        "metadata left out": ", ".join(removed) or "none",
    }
    return Conversion("ONNX", model, OnnxSource(original, recurrent), recurrent, facts), metadata


def load_onnx(path: Path) -> onnx.ModelProto:
    """A checked network with all of its weights in it; those in files beside it are taken in.

    Raises:
        Refused: no ONNX network, or weights that are missing or outside of its folder.
    """
    what = f"network {path.name}"
    try:
        model = onnx.load_model_from_string(path.read_bytes())
        if not model.graph.node:
            raise ValueError("no operators")
    except Exception as error:  # protobuf has its own families, which differ between its versions
        raise Refused(what, expected="an ONNX, TorchScript or PyTorch file",
                      found=f"{type(error).__name__}: {error}"[:200],
                      what_to_do="the file is damaged, cut short or of another kind") from error
    for tensor in _tensors(model.graph):
        if external_data_helper.uses_external_data(tensor):
            _take_in(what, path.parent, tensor)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, or what protobuf raises above 2 GB
        raise Refused(what, expected="a network that the ONNX checker accepts", found=str(error).strip()[:300],
                      what_to_do="export it again") from error
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else []
            yield from attribute.tensors
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _tensors(inner)


def _take_in(what: str, folder: Path, tensor: onnx.TensorProto) -> None:
    location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
    parts = PurePosixPath(location).parts
    file = folder / location
    outside = not parts or ".." in parts or PurePosixPath(location).is_absolute() or "\\" in location
    if outside or not file.is_file() or folder.resolve() not in file.resolve().parents:
        raise Refused(f"{what}, weights of {tensor.name}", expected="a file beside the network",
                      found=f"{location or 'no name'}{'' if outside or file.exists() else ', which is not there'}",
                      what_to_do="bring its weights along, or save it as one file: onnx.save(onnx.load(PATH), NEW)")
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:  # onnx checks bounds and links and raises ValidationError, ValueError or OSError
        raise Refused(f"{what}, weights of {tensor.name}", expected=f"its numbers in {location}",
                      found=str(error)[:200],
                      what_to_do="the file is cut short or another network's: export again") from error
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _fix_sizes(what: str, model: onnx.ModelProto) -> list[str]:
    """Make every symbolic dimension one; returns the inputs that had some."""
    weights = {tensor.name for tensor in model.graph.initializer}
    found = []
    for value in model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name in weights:
            continue
        symbolic = [i for i, size in enumerate(sizes) if size.dim_value <= 0]
        if len(symbolic) > 1 or (symbolic and len(sizes) < 2):
            names = ", ".join(size.dim_param or "?" if size.dim_value <= 0 else str(size.dim_value) for size in sizes)
            raise Refused(f"{what}, input {value.name}", expected="fixed sizes, the batch alone may be open",
                          found=f"({names})", what_to_do="export it with the size of the observation fixed")
        for i in symbolic:
            sizes[i].dim_value = 1
            found.append(value.name)
    if found:
        for value in [*model.graph.output, *model.graph.value_info]:
            value.type.tensor_type.ClearField("shape")
        del model.graph.value_info[:]
        _fix_outputs(what, model)
    return found


def _fix_outputs(what: str, model: onnx.ModelProto) -> None:
    """Write the outputs' sizes: inferred, or measured by a run where they cannot be."""
    inferred = {value.name: value for value in shape_inference.infer_shapes(model).graph.output}
    for value in model.graph.output:
        shape = inferred[value.name].type.tensor_type.shape
        if shape.dim and all(size.dim_value > 0 for size in shape.dim):
            value.type.tensor_type.shape.CopyFrom(shape)
    open_ones = [value for value in model.graph.output if not value.type.tensor_type.shape.dim]
    if open_ones:
        measured = _measure(what, model)
        for value in open_ones:
            for size in measured[value.name]:
                value.type.tensor_type.shape.dim.add().dim_value = size


def _measure(what: str, model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(double)": np.float64}
        feed = {node.name: np.zeros(node.shape, kinds[node.type]) for node in session.get_inputs()}
        return {node.name: values.shape for node, values in
                zip(session.get_outputs(), session.run(None, feed), strict=True)}
    except Exception as error:  # onnxruntime raises its own family, of which no base is public
        raise Refused(what, expected="a network that runs on a batch of one", found=str(error).splitlines()[0][:300],
                      what_to_do="export it with fixed sizes, the batch alone may be open") from error


def _strip(model: onnx.ModelProto, known: set[str]) -> list[str]:
    """Take out notes, and metadata that is not known or names a path; returns the keys that went."""
    kept = [entry for entry in model.metadata_props if entry.key in known and not _PATH.search(entry.value)]
    removed = sorted({entry.key for entry in model.metadata_props} - {entry.key for entry in kept})
    rows = [(entry.key, entry.value) for entry in kept]
    del model.metadata_props[:]
    for key, value in rows:
        model.metadata_props.add(key=key, value=value)
    model.ClearField("doc_string")
    _strip_graph(model.graph)
    for function in model.functions:
        function.ClearField("doc_string")
        _strip_nodes(function.node)
    return removed


def _strip_graph(graph: onnx.GraphProto) -> None:
    graph.ClearField("doc_string")
    for part in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        part.ClearField("doc_string")
        _forget(part)
    _forget(graph)
    _strip_nodes(graph.node)


def _strip_nodes(nodes: Any) -> None:
    for node in nodes:
        node.ClearField("doc_string")
        _forget(node)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                _strip_graph(inner)


def _forget(part: Any) -> None:
    """Exporters keep the stack trace of each operator, with paths, in its own metadata (IR version 10)."""
    if hasattr(part, "metadata_props"):
        del part.metadata_props[:]


def _recurrent(model: onnx.ModelProto, manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The manifest's hidden state; where it names none, inputs it does not mention that an output matches."""
    given = manifest.get("recurrent")
    if isinstance(given, list) and given:
        return [(str(pair.get("input")), str(pair.get("output"))) for pair in given if isinstance(pair, dict)]
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: _shape(value) for value in model.graph.input if value.name not in weights}
    outputs = {value.name: _shape(value) for value in model.graph.output}
    entries = manifest.get("inputs")
    named = [entry.get("name") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    pairs = []
    for name, shape in inputs.items():
        endings = ((before, after) for before, after in _STATE_NAMES if name.endswith(before))
        twins = [name.removesuffix(before) + after for before, after in endings]
        match = next((twin for twin in twins if twin != name and outputs.get(twin) == shape), None)
        if name not in named and match is not None:
            pairs.append((name, match))
    return pairs if len(inputs) - len(pairs) == len(named) else []


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(size.dim_value for size in value.type.tensor_type.shape.dim)

