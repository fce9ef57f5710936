"""TorchScript networks: read without Python code of theirs, hidden state found and lifted to inputs and outputs.

`torch.jit.load` runs no Python and no pickle of the file: torch's own reader makes its objects, torch's own interpreter
runs its program. Some of torch's operators reach the file system: a program that names one, or an operator of another
library, is refused before it is loaded. What remains can still use up time and memory.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from export.hidden_state import HiddenState, find_hidden_state
from export.onnx_graph import write_onnx
from export.source_network import Array, Conversion
from export.torch_graph import trace
from runtime.errors import Refused

_FORBIDDEN = re.compile(r"\b(?:torch|aten)\.(?:save|load|from_file|classes)\b|\bops\.(?!aten\.|prim\.)\w+")


class TorchScriptSource:
    """The module as it was saved, keeping its state by itself (`export.source_network.SourceNetwork`)."""

    def __init__(self, module: Any, state: HiddenState, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._module, self._state, self._inputs, self._outputs = module, state, inputs, outputs

    def reset(self) -> None:
        """Zero the hidden state."""
        self._state.write(self._module, self._state.zeros)

    def step(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """One tick."""
        with torch.no_grad():
            found = self._module(*(torch.tensor(inputs[name]) for name in self._inputs))
        return {name: tensor.numpy().copy() for name, tensor in zip(self._outputs, flat(found).values(), strict=True)}


def is_torchscript(path: Path) -> bool:
    """A zip archive with TorchScript code in it (a checkpoint of `torch.save` has none)."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    return "constants.pkl" in names or any(name.startswith("code/") for name in names)


def load_torchscript(path: Path) -> Any:
    """A module on the CPU, in evaluation mode, in float32.

    Raises:
        Refused: damaged, or its program names an operator that reaches outside.
    """
    what = f"TorchScript {path.name}"
    try:
        with zipfile.ZipFile(path) as archive:
            code = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
        forbidden = [match.group() for text in code for match in _FORBIDDEN.finditer(text)]
        if forbidden:
            raise Refused(what, expected="a network that only computes", found=f"a program that uses {forbidden[0]}",
                          what_to_do="find out who wrote this file and why; export the network again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces that TorchScript is old
            module = cast(Any, torch.jit).load(str(path), map_location="cpu")
        if hasattr(module, "training"):
            module.eval()
        return module.float()
    except Refused:
        raise
    except Exception as error:  # zipfile, zlib, pickle and torch each have their own
        raise Refused(what, expected="a file of torch.jit.save", found=f"{type(error).__name__}: {str(error)[:200]}",
                      what_to_do="the file is damaged or cut short: save it again") from error


def convert_torchscript(
    path: Path, sizes: dict[str, int], outputs: Sequence[str], wanted: Sequence[tuple[str, str]], *,
    start_from_zero: bool = False,
) -> Conversion:
    """A TorchScript file as ONNX, with hidden state as named inputs and outputs.

    Args:
        sizes: name and size of each input, in the manifest's order.
        outputs: names for the first outputs; further ones are called output_1, output_2, ...
        wanted: names for the hidden state, pairs (input, output); empty: named after the attributes.
        start_from_zero: accept a file that was saved with other hidden state than zero.

    Raises:
        Refused: other inputs, or state that cannot be lifted.
    """
    what = f"TorchScript {path.name}"
    module, original = load_torchscript(path), load_torchscript(path)
    order = _argument_order(what, module, list(sizes))
    examples = {name: torch.randn(1, sizes[name], generator=torch.Generator().manual_seed(7)) for name in order}
    found = _call(what, module, examples, sizes)
    names = _output_names(found, outputs)
    state = find_hidden_state(what, module, original, list(examples.values()), start_from_zero=start_from_zero)
    pairs = state.names(what, wanted)

    def step(*arguments: Any) -> list[Any]:
        inputs, hidden = arguments[: len(examples)], arguments[len(examples) :]
        state.write(module, [tensor.clone() for tensor in hidden])
        out = list(flat(module(*inputs)).values())
        return [*out, *state.read(module)]

    everything = {**examples, **dict(zip((name for name, _ in pairs), state.zeros, strict=True))}
    graph = trace(what, step, list(everything.values()))
    model = write_onnx(what, graph, everything, [*names, *(name for _, name in pairs)], _constants(module))
    facts = {"hidden state": state.describe(pairs)} if pairs else {"hidden state": "none"}
    return Conversion("TorchScript", model, TorchScriptSource(original, state, order, names), pairs, facts)


def flat(found: Any) -> dict[str, Any]:
    """What a module returned, tensor by tensor; keys are names where it returned names, else places."""
    if isinstance(found, torch.Tensor):
        return {"0": found}
    rows = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list | tuple) else ()
    out: dict[str, Any] = {}
    for key, value in rows:
        inner = flat(value)
        out.update({str(key) if len(inner) == 1 else f"{key}_{name}": tensor for name, tensor in inner.items()})
    return out


def _constants(module: Any) -> dict[str, Any]:
    return {**dict(module.named_buffers()), **dict(module.named_parameters())}


def _argument_order(what: str, module: Any, names: list[str]) -> list[str]:
    """The manifest's inputs in the order of `forward`: by name where all names are the same, else by place."""
    try:
        arguments = module.forward.schema.arguments[1:]
    except (AttributeError, RuntimeError) as error:
        raise Refused(what, expected="a module with `forward`", found="none",
                      what_to_do="save the policy itself (torch.jit.script(policy).save)") from error
    needed = [argument.name for argument in arguments if not argument.has_default_value()]
    given = [argument.name for argument in arguments]
    if set(names) <= set(given) and set(needed) <= set(names):
        return [name for name in given if name in names]
    if len(needed) > len(names) or len(given) < len(names):
        raise Refused(what, expected=f"{len(names)} inputs, as the manifest has: {', '.join(names)}",
                      found=f"{len(needed)}: {', '.join(needed)}",
                      what_to_do="one entry of `inputs` for each argument; give a network whose hidden state comes as "
                      "arguments as ONNX")
    return names


def _call(what: str, module: Any, examples: dict[str, Any], sizes: dict[str, int]) -> Any:
    try:
        with torch.no_grad():
            found = module(*examples.values())
    except Exception as error:  # TorchScript raises torch.jit.Error, operators RuntimeError and others
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise Refused(what, expected="a network that takes " + ", ".join(f"{n} (1, {s})" for n, s in sizes.items()),
                      found=(lines[-1] if lines else type(error).__name__)[:300],
                      what_to_do="compare the manifest's inputs with what the network was trained on") from error
    if not flat(found):
        raise Refused(what, expected="an action, a tensor", found=type(found).__name__,
                      what_to_do="return the action from `forward`")
    return found


def _output_names(found: Any, wanted: Sequence[str]) -> list[str]:
    places = list(flat(found))
    if isinstance(found, dict):
        return places
    return [*wanted, *(f"output_{i}" for i in range(len(wanted), len(places)))][: len(places)]
