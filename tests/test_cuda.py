"""libcudart as the runtime calls it: arguments, handles, and errors in CUDA's own words; the library is pretended."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from runtime import cuda
from runtime.cuda import TO_DEVICE, Cuda, open_cuda
from runtime.errors import Refused


class Function:
    """One C function: remembers its calls, fills what its first argument points to."""

    def __init__(self, name: str) -> None:
        self.name, self.result, self.fill = name, 0, 0
        self.calls: list[tuple[Any, ...]] = []
        self.argtypes: list[Any] = []
        self.restype: Any = None

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        if self.name == "cudaGetErrorString":
            return b"out of memory"
        for argument in arguments:
            target = getattr(argument, "_obj", None)
            if target is not None:
                target.value = self.fill
        if self.name == "cudaGetDeviceProperties":
            arguments[0].raw = b"Orin" + bytes(300)
        return self.result


class Library:
    """Every function there is."""

    def __init__(self) -> None:
        self._functions: dict[str, Function] = {}

    def __getattr__(self, name: str) -> Function:
        return self._functions.setdefault(name, Function(name))


def test_the_device_is_named() -> None:
    library = Library()
    library.cudaDeviceGetAttribute.fill = 8
    device = Cuda(library)
    assert device.device_name() == "Orin"
    assert device.compute_capability() == "8.8"
    assert [call[1] for call in library.cudaDeviceGetAttribute.calls] == [75, 76]


def test_page_locked_memory_is_an_array_of_zeros_over_it() -> None:
    library = Library()
    memory = (ctypes.c_byte * 24)(*[1] * 24)
    library.cudaHostAlloc.fill = ctypes.addressof(memory)
    array = Cuda(library).host_array((2, 3), np.float32)
    assert array.ctypes.data == ctypes.addressof(memory)
    np.testing.assert_array_equal(array, np.zeros((2, 3), np.float32))
    array[1, 2] = 5
    assert np.frombuffer(memory, np.float32)[5] == 5
    assert library.cudaHostAlloc.calls[0][1] == 24


def test_a_capture_becomes_a_graph_that_is_launched() -> None:
    library = Library()
    library.cudaStreamEndCapture.fill, library.cudaGraphInstantiateWithFlags.fill = 11, 12
    device = Cuda(library)
    device.begin_capture(7)
    graph = device.end_capture(7)
    device.launch(graph, 7)
    assert graph == 12
    assert library.cudaStreamBeginCapture.calls == [(7, 1)]
    assert library.cudaGraphInstantiateWithFlags.calls[0][1].value == 11
    assert library.cudaGraphLaunch.calls == [(12, 7)]


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("cudaMalloc", lambda device: device.device_memory(4)),
        ("cudaHostAlloc", lambda device: device.host_array((1,), np.float32)),
        ("cudaStreamCreateWithFlags", lambda device: device.stream()),
        ("cudaMemcpyAsync", lambda device: device.copy(1, 2, 3, TO_DEVICE, 7)),
        ("cudaStreamSynchronize", lambda device: device.synchronize(7)),
        ("cudaStreamBeginCapture", lambda device: device.begin_capture(7)),
        ("cudaStreamEndCapture", lambda device: device.end_capture(7)),
        ("cudaGraphInstantiateWithFlags", lambda device: device.end_capture(7)),
        ("cudaGraphLaunch", lambda device: device.launch(1, 7)),
        ("cudaGetDeviceProperties", lambda device: device.device_name()),
        ("cudaDeviceGetAttribute", lambda device: device.compute_capability()),
    ],
)
def test_an_error_is_refused_by_name_in_cuda_s_words(function: str, call: Any) -> None:
    library = Library()
    getattr(library, function).result = 2
    with pytest.raises(Refused, match=f"{function} to succeed, found error 2: out of memory"):
        call(Cuda(library))


def test_without_the_library_what_was_tried_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXOACTOR_LIBCUDART", "no_such_libcudart.so")
    with pytest.raises(Refused, match=r"no_such_libcudart\.so"):
        open_cuda()
    monkeypatch.delenv("EXOACTOR_LIBCUDART")
    monkeypatch.setattr(cuda.sys, "path", [])
    monkeypatch.setattr(cuda, "NAMES", ("libcudart.none",))
    with pytest.raises(Refused, match=r"libcudart\.none"):
        open_cuda()
