"""Hidden state of a TorchScript module: attributes that its `forward` reads and changes, found whatever their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runtime.errors import Refused

CALLS = 3
"""Calls with different inputs, after which every attribute that holds state has changed."""
_LIFT_IT = "export the network with its hidden state as inputs and outputs (ONNX), and name them in `recurrent`"


@dataclass(frozen=True)
class Slot:
    """One attribute that holds state: a tensor, or a tuple or list of tensors.

    Attributes:
        path: where it is, from the module: "memory.hidden_state".
        kind: how the attribute holds its tensors: Tensor, tuple or list.
        count: how many tensors.
    """

    path: str
    kind: type
    count: int


class HiddenState:
    """The state of a module, taken out and put back.

    Args:
        slots: where it is.
        zeros: what it is at the start of a run, a tensor each.
    """

    def __init__(self, slots: Sequence[Slot], zeros: Sequence[Any]) -> None:
        self.slots, self.zeros = list(slots), list(zeros)

    def read(self, module: Any) -> list[Any]:
        """The tensors of the module's state, now."""
        return [tensor for slot in self.slots for tensor in _tensors(_get(module, slot.path))]

    def write(self, module: Any, tensors: Sequence[Any]) -> None:
        """Make these the module's state; it gets copies where it may write in place."""
        rest = iter(tensors)
        for slot in self.slots:
            part = [next(rest).clone() for _ in range(slot.count)]
            _set(module, slot.path, part[0] if slot.kind is torch.Tensor else slot.kind(part))

    def names(self, what: str, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Names of the lifted state, pairs (input, output): those of the manifest, else after the attributes."""
        if wanted and len(wanted) != len(self.zeros):
            raise Refused(f"{what}, hidden state", expected=f"{len(wanted)} tensors, as the manifest's `recurrent` has",
                          found=f"{len(self.zeros)}: {', '.join(self._labels()) or 'none'}",
                          what_to_do="correct `recurrent`, or leave it out: the export fills it in")
        return list(wanted) or [(f"{label}_in", f"{label}_out") for label in self._labels()]

    def describe(self, pairs: Sequence[tuple[str, str]]) -> str:
        """For people: each tensor, its shape and its names."""
        rows = zip(self._labels(), self.zeros, pairs, strict=True)
        return ", ".join(f"{label} {'x'.join(map(str, zero.shape))} ({a} <- {b})" for label, zero, (a, b) in rows)

    def _labels(self) -> list[str]:
        return [
            slot.path.replace(".", "_") + (f"_{i}" if slot.kind is not torch.Tensor else "")
            for slot in self.slots for i in range(slot.count)
        ]


def find_hidden_state(
    what: str, module: Any, untouched: Any, inputs: Sequence[Any], *, start_from_zero: bool
) -> HiddenState:
    """What a module remembers from one call to the next; both modules are left at zero state.

    Every attribute that `forward` names is looked at before and after calls; what changed, or is assigned anywhere in
    the program, is state. Then the module is called twice from zero state: another answer means that something else
    remembers, or is drawn at random.

    Args:
        module: a TorchScript module.
        untouched: the same, as it was saved: never called.
        inputs: one tensor an argument.
        start_from_zero: do not ask what state the file was saved with.

    Raises:
        Refused: state that is not tensors, grows, starts elsewhere than at zero, or is not found.
    """
    read, assigned = _attributes(module)
    before = {path: _copied(_get(untouched, path)) for path in read}
    changed = set(assigned) & set(read)
    with torch.no_grad():
        for call in range(CALLS):
            module(*(tensor + call for tensor in inputs))
            changed |= {path for path in read if not _same(before[path], _get(module, path))}
    slots = [_slot(what, path, before[path], _get(module, path)) for path in read if path in changed]
    state = HiddenState(slots, [])
    state.zeros = [torch.zeros_like(tensor) for tensor in state.read(module)]
    if not start_from_zero:
        _check_start(what, untouched, state, inputs)
    _check_repeats(what, module, state, inputs)
    for each in (module, untouched):
        state.write(each, state.zeros)
    return state


def _attributes(module: Any) -> tuple[list[str], list[str]]:
    """Paths of the attributes that `forward` reads, and of those it assigns; modules themselves excepted."""
    graph = module.inlined_graph
    places = {next(graph.inputs()).debugName(): ""}
    read: dict[str, None] = {}
    assigned: dict[str, None] = {}
    for node in _nodes(graph):
        if node.kind() not in ("prim::GetAttr", "prim::SetAttr"):
            continue
        owner = places.get(next(node.inputs()).debugName())
        if owner is None:
            continue
        path = f"{owner}.{node.s('name')}".lstrip(".")
        if node.kind() == "prim::SetAttr":
            assigned[path] = None
        elif _is_module(node.output()):
            places[node.output().debugName()] = path
        else:
            read[path] = None
    return list(read), list(assigned)


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _is_module(value: Any) -> bool:
    kind = value.type()
    return kind.kind() == "ClassType" and bool(getattr(kind, "is_module", lambda: True)())


def _get(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _set(module: Any, path: str, value: Any) -> None:
    owner, _, name = path.rpartition(".")
    setattr(_get(module, owner) if owner else module, name, value)


def _tensors(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [_copied(part) for part in value]
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        alike = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape
        return alike and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


def _slot(what: str, path: str, before: Any, after: Any) -> Slot:
    tensors = _tensors(after)
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise Refused(f"{what}, hidden state", expected="state that is a tensor, or a tuple or list of tensors",
                      found=f"`{path}`, {type(after).__name__}, changes between calls", what_to_do=_LIFT_IT)
    if any(tensor.dtype not in (torch.float32, torch.float64, torch.int64) for tensor in tensors):
        raise Refused(f"{what}, hidden state", expected="float32, float64 or int64",
                      found=f"`{path}` of {tensors[0].dtype}", what_to_do=_LIFT_IT)
    earlier = _tensors(before)
    if before is not None and [t.shape for t in earlier] != [t.shape for t in tensors]:
        sizes = " to ".join(str([tuple(tensor.shape) for tensor in each]) for each in (earlier, tensors))
        raise Refused(f"{what}, hidden state", expected="state of one size", found=f"`{path}` grows from {sizes}",
                      what_to_do="keep a history of fixed length, and save the module before its first call")
    kind = torch.Tensor if isinstance(after, torch.Tensor) else tuple if isinstance(after, tuple) else list
    return Slot(path, kind, len(tensors))


def _check_start(what: str, module: Any, state: HiddenState, inputs: Sequence[Any]) -> None:
    """The file's own start, after its own reset where it has one, is zero or acts as zero."""
    for name in module._c._method_names():
        method = getattr(module, name, None)
        if "reset" in name and method is not None and len(method.schema.arguments) == 1:
            with torch.no_grad():
                method()
    values = [_get(module, slot.path) for slot in state.slots]
    if all(value is not None and all(not t.any() for t in _tensors(value)) for value in values):
        return
    if any(value is None for value in values):
        with torch.no_grad():
            first = _copied(module(*inputs))
            state.write(module, state.zeros)
            if _close(first, module(*inputs)):
                return
        found = f"`{state.slots[0].path}` that is None at first and acts otherwise than zeros"
    else:
        rows = zip(state.slots, values, strict=True)
        names = [slot.path for slot, value in rows if any(tensor.any() for tensor in _tensors(value))]
        found = f"`{'`, `'.join(names)}` saved with other values"
    raise Refused(f"{what}, hidden state", expected="state that begins at zero, as the runtime starts it", found=found,
                  what_to_do="save the module before its first call; if zeros are right all the same, say "
                  "--start-from-zero")


def _check_repeats(what: str, module: Any, state: HiddenState, inputs: Sequence[Any]) -> None:
    answers = []
    with torch.no_grad():
        for _ in range(2):
            state.write(module, state.zeros)
            answers.append(_copied(module(*inputs)))
    if not _same(*answers):
        raise Refused(what, expected="the same answer to the same input and hidden state", found="another one",
                      what_to_do="it draws random numbers, or remembers something that is no attribute of the module; "
                      "export the mean action, with hidden state as inputs and outputs (ONNX)")


def _close(a: Any, b: Any) -> bool:
    pairs = zip(_tensors(a), _tensors(b), strict=True)
    return all(torch.allclose(x, y, rtol=0, atol=1e-6) for x, y in pairs if isinstance(x, torch.Tensor))
