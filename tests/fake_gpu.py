"""TensorRT and CUDA as far as the runtime uses them, on the CPU: a plan is its ONNX, a GPU address a buffer's.

What it cannot show is whether the real ones behave so. It holds the order of calls, the bindings and every refusal.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from runtime.cuda import Cuda
from runtime.errors import Refused


class FakeCuda(Cuda):
    """One device whose memory is the process's own; queued work is done at once unless it is captured."""

    def __init__(self) -> None:
        self.name, self.capability = "Fake GPU", "8.7"
        self.calls: list[str] = []
        self.can_capture = True
        self._buffers: dict[int, Any] = {}
        self._recording: list[Callable[[], None]] | None = None
        self._graphs: list[list[Callable[[], None]]] = []

    def device_name(self) -> str:
        return self.name

    def compute_capability(self) -> str:
        return self.capability

    def device_memory(self, size: int) -> int:
        self.calls.append("device_memory")
        buffer = (ctypes.c_byte * max(size, 1))()
        self._buffers[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def host_array(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.calls.append("host_array")
        return np.zeros(shape, dtype)

    def stream(self) -> int:
        return 7

    def queue(self, work: Callable[[], None]) -> None:
        """What a kernel launch is here."""
        if self._recording is None:
            work()
        else:
            self._recording.append(work)

    def copy(self, to: int, source: int, size: int, kind: int, stream: int) -> None:
        assert stream == 7
        self.calls.append("copy")
        self.queue(lambda: ctypes.memmove(to, source, size) and None)

    def synchronize(self, stream: int) -> None:
        self.calls.append("synchronize")

    def begin_capture(self, stream: int) -> None:
        self.calls.append("begin_capture")
        self._recording = []

    def end_capture(self, stream: int) -> int:
        recorded, self._recording = self._recording, None
        if not self.can_capture:
            raise Refused("CUDA", expected="cudaStreamEndCapture to succeed", found="error 901", what_to_do="-")
        self._graphs.append(recorded or [])
        return len(self._graphs)

    def launch(self, graph: int, stream: int) -> None:
        self.calls.append("launch")
        for work in self._graphs[graph - 1]:
            work()


class FakeTensorRT:
    """The module `tensorrt`.

    Attributes:
        spoil: applied to every output, as a kernel of less precision would.
        deserialised: plans that were handed to the runtime.
        last_config: flags of the last build.
    """

    float32, int64, int32, float16 = "float32", "int64", "int32", "float16"

    class TensorIOMode(Enum):
        INPUT = 1
        OUTPUT = 2

    class NetworkDefinitionCreationFlag:
        STRONGLY_TYPED = 1

    class BuilderFlag(Enum):
        TF32 = 7

    def __init__(self, cuda: FakeCuda, version: str = "10.3.0") -> None:
        self.__version__ = version
        self.cuda = cuda
        self.spoil: Callable[[str, Any], Any] = lambda name, values: values
        self.deserialised: list[bytes] = []
        self.parse_errors: list[str] = []
        self.plan_fails = self.load_fails = self.execute_fails = False
        self.flags: set[Any] = set()
        self.creation = 0

    class Logger:
        ERROR, WARNING = 1, 2

        def __init__(self, level: int) -> None:
            self.level = level

    def Builder(self, logger: Any) -> _Builder:  # noqa: N802
        return _Builder(self)

    def OnnxParser(self, network: dict[str, bytes], logger: Any) -> _Parser:  # noqa: N802
        return _Parser(self, network)

    def Runtime(self, logger: Any) -> _Runtime:  # noqa: N802
        return _Runtime(self)


class _Builder:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def create_network(self, flags: int) -> dict[str, bytes]:
        self._trt.creation = flags
        return {}

    def create_builder_config(self) -> _Config:
        self._trt.flags = {FakeTensorRT.BuilderFlag.TF32}  # on unless it is cleared, as NVIDIA documents
        return _Config(self._trt)

    def build_serialized_network(self, network: dict[str, bytes], config: _Config) -> bytes | None:
        if self._trt.plan_fails:
            return None
        about = {"tf32": config.get_flag(FakeTensorRT.BuilderFlag.TF32)}
        return json.dumps(about).encode() + b"\n" + network["onnx"]


class _Config:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def set_flag(self, flag: Any) -> None:
        self._trt.flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._trt.flags.discard(flag)

    def get_flag(self, flag: Any) -> bool:
        return flag in self._trt.flags


class _Parser:
    def __init__(self, trt: FakeTensorRT, network: dict[str, bytes]) -> None:
        self._trt, self._network = trt, network
        self.num_errors = len(trt.parse_errors)

    def parse(self, onnx: bytes) -> bool:
        self._network["onnx"] = onnx
        return not self._trt.parse_errors

    def get_error(self, place: int) -> str:
        return self._trt.parse_errors[place]


class _Runtime:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        self._trt.deserialised.append(plan)
        return None if self._trt.load_fails else _Engine(self._trt, plan)


class _Engine:
    def __init__(self, trt: FakeTensorRT, plan: bytes) -> None:
        import onnxruntime as ort

        about, _, onnx = plan.partition(b"\n")
        self.tf32 = json.loads(about)["tf32"]
        self.trt, self.session = trt, ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        self.nodes = {node.name: node for node in (*self.session.get_inputs(), *self.session.get_outputs())}
        self._inputs = {node.name for node in self.session.get_inputs()}
        self.num_io_tensors = len(self.nodes)

    def get_tensor_name(self, place: int) -> str:
        return list(self.nodes)[place]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.nodes[name].shape)

    def get_tensor_dtype(self, name: str) -> str:
        return {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(double)": "double"}[self.nodes[name].type]

    def get_tensor_mode(self, name: str) -> FakeTensorRT.TensorIOMode:
        return FakeTensorRT.TensorIOMode.INPUT if name in self._inputs else FakeTensorRT.TensorIOMode.OUTPUT

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._engine.trt.cuda.calls.append(f"bind {name}")
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        trt = self._engine.trt
        trt.cuda.calls.append("execute")
        if trt.execute_fails:
            return False
        trt.cuda.queue(self._compute)
        return True

    def _compute(self) -> None:
        engine = self._engine
        views = {name: self._view(name) for name in engine.nodes}
        feeds = {node.name: views[node.name] for node in engine.session.get_inputs()}
        names = [node.name for node in engine.session.get_outputs()]
        for name, values in zip(names, engine.session.run(names, feeds), strict=True):
            views[name][...] = engine.trt.spoil(name, values)

    def _view(self, name: str) -> Any:
        shape, dtype = self._engine.get_tensor_shape(name), np.dtype(self._engine.get_tensor_dtype(name))
        size = int(np.prod(shape)) * dtype.itemsize
        return np.ndarray(shape, dtype, (ctypes.c_byte * size).from_address(self._addresses[name]))
