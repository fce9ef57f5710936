"""The few functions of the CUDA runtime that running an engine needs, from the libcudart that is installed.

Constants and signatures: `cuda_runtime_api.h` and `driver_types.h` of CUDA 12.9 and 13.5; every function named here
exists under the same name in both. JetPack brings libcudart with TensorRT, so no further Python package is needed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

NAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")
TO_DEVICE, TO_HOST = 1, 2
_NON_BLOCKING, _THREAD_LOCAL = 1, 1
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_PROPERTIES_BYTES = 1 << 14
"""More than `cudaDeviceProp` has in any release; only its first field, the name, is read."""
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceProperties": (c_void_p, c_int),
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaMalloc": (POINTER(c_void_p), c_size_t),
    "cudaHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cudaStreamCreateWithFlags": (POINTER(c_void_p), c_uint),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cudaGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cudaGraphLaunch": (c_void_p, c_void_p),
}


class Cuda:
    """The first CUDA device of this computer.

    Args:
        library: a loaded libcudart.

    Raises:
        Refused: from every method, with the function's name and CUDA's own words.
    """

    def __init__(self, library: Any) -> None:
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = list(arguments), c_int
        library.cudaGetErrorString.argtypes, library.cudaGetErrorString.restype = [c_int], c_char_p
        self._library = library
        self._copy, self._launch = library.cudaMemcpyAsync, library.cudaGraphLaunch
        self._synchronize = library.cudaStreamSynchronize

    def _check(self, code: int, name: str) -> None:
        if code:
            text = self._library.cudaGetErrorString(code)
            raise Refused("CUDA", expected=f"{name} to succeed",
                          found=f"error {code}: {text.decode() if text else 'unknown'}",
                          what_to_do="check the GPU and its driver (nvidia-smi), or use --backend cpu")

    def _made(self, name: str, *arguments: Any) -> int:
        """Calls a function whose first argument is where to put a handle; returns the handle."""
        out = c_void_p()
        self._check(getattr(self._library, name)(byref(out), *arguments), name)
        return out.value or 0

    def device_name(self) -> str:
        """What NVIDIA calls the GPU."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._check(self._library.cudaGetDeviceProperties(properties, 0), "cudaGetDeviceProperties")
        return properties.value.decode("utf-8", "replace")

    def compute_capability(self) -> str:
        """Of the GPU, as "8.7"."""
        numbers = []
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = c_int()
            self._check(self._library.cudaDeviceGetAttribute(byref(value), attribute, 0), "cudaDeviceGetAttribute")
            numbers.append(str(value.value))
        return ".".join(numbers)

    def device_memory(self, size: int) -> int:
        """Address of `size` new bytes on the GPU."""
        return self._made("cudaMalloc", max(size, 1))

    def host_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Zeros in page-locked memory, which the GPU copies without a detour."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_byte * max(size, 1)).from_address(self._made("cudaHostAlloc", max(size, 1), 0))
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, memory)  # type: ignore[arg-type]
        array[...] = 0
        return array

    def stream(self) -> int:
        """A new stream that does not wait for the default one."""
        return self._made("cudaStreamCreateWithFlags", _NON_BLOCKING)

    def copy(self, to: int, source: int, size: int, kind: int, stream: int) -> None:
        """Queue a copy; `kind` is TO_DEVICE or TO_HOST."""
        self._check(self._copy(to, source, size, kind, stream), "cudaMemcpyAsync")

    def synchronize(self, stream: int) -> None:
        """Wait for everything queued."""
        self._check(self._synchronize(stream), "cudaStreamSynchronize")

    def begin_capture(self, stream: int) -> None:
        """From now on what is queued is recorded instead of done."""
        self._check(self._library.cudaStreamBeginCapture(stream, _THREAD_LOCAL), "cudaStreamBeginCapture")

    def end_capture(self, stream: int) -> int:
        """What was recorded, as a graph that can be launched."""
        graph = c_void_p()
        self._check(self._library.cudaStreamEndCapture(stream, byref(graph)), "cudaStreamEndCapture")
        return self._made("cudaGraphInstantiateWithFlags", graph, 0)

    def launch(self, graph: int, stream: int) -> None:
        """Queue a captured graph."""
        self._check(self._launch(graph, stream), "cudaGraphLaunch")


def open_cuda() -> Cuda:
    """libcudart: EXOACTOR_LIBCUDART, the loader's, or one inside NVIDIA's wheels.

    Raises:
        Refused: none of them, naming what was tried.
    """
    chosen = os.environ.get("EXOACTOR_LIBCUDART")
    wheels = [str(path) for folder in sys.path if folder for path in Path(folder).glob("nvidia/*/lib/libcudart.so.*")]
    tried = []
    for name in (chosen,) if chosen else (*NAMES, *wheels):
        try:
            return Cuda(ctypes.CDLL(name))
        except (OSError, AttributeError) as error:
            tried.append(f"{name}: {error}")
    raise Refused(
        "CUDA runtime", expected="libcudart of CUDA 12 or newer", found="; ".join(tried),
        what_to_do="install CUDA (part of JetPack), name the file in EXOACTOR_LIBCUDART, or use --backend cpu",
    )
