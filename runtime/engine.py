"""One network as a TensorRT engine: buffers bound once, the whole inference one CUDA graph where it can be captured.

Follows NVIDIA/TensorRT `samples/python/common_runtime.py` (buffers by tensor name, `execute_async_v3`) and the
TensorRT 10 and 11 Python API. Not yet run on a GPU: docs/hardware.md says what to look at first.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.cuda import TO_DEVICE, TO_HOST, Cuda, open_cuda
from runtime.engine_file import EngineFile, Machine
from runtime.errors import Refused

BINDINGS = ("tensorrt", "tensorrt_bindings")
"""JetPack and NVIDIA's full wheel have the first, the wheel of the bindings alone the second."""
OLDEST = 10
"""TensorRT's major version from which tensors have names instead of numbers alone."""


def load_tensorrt() -> Any:
    """NVIDIA's Python bindings.

    Raises:
        Refused: none that can be imported, or one too old.
    """
    module, found = None, []
    for name in BINDINGS:
        try:
            module = importlib.import_module(name)
            break
        except ImportError as error:
            found.append(str(error))
    if module is None:
        raise Refused(
            "TensorRT", expected=f"its Python bindings, version {OLDEST} or newer", found="; ".join(found),
            what_to_do="pip install 'exoactor[gpu]' (JetPack brings its own), or use --backend cpu",
        )
    if int(module.__version__.partition(".")[0]) < OLDEST:
        raise Refused("TensorRT", expected=f"version {OLDEST} or newer", found=module.__version__,
                      what_to_do="install a newer TensorRT, or use --backend cpu")
    return module


def this_machine(trt: Any, cuda: Cuda) -> Machine:
    """What engines built here are tied to."""
    return Machine(trt.__version__, cuda.device_name(), cuda.compute_capability())


class EngineModel:
    """A network on TensorRT, with the face of `runtime.model.Model`.

    Args:
        engine: checked by `read_engine`, or built a moment ago.
        trt, cuda: the libraries, where they are loaded already.
        rebuild: what to do when TensorRT will not have it.

    Attributes:
        inputs, outputs: name -> array in page-locked memory.
        graph: whether an inference is one captured CUDA graph.
    """

    def __init__(self, engine: EngineFile, trt: Any = None, cuda: Cuda | None = None, rebuild: str = "") -> None:
        self._trt = trt = trt or load_tensorrt()
        self._cuda = cuda = cuda or open_cuda()
        self._rebuild = rebuild or "build the engine again with `exoactor export engine`"
        self.backend = "engine" if engine.key.precision == "fp32" else f"engine-{engine.key.precision}"
        self._metadata = engine.metadata
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine.plan)
        if self._engine is None:
            raise self._refuse("an engine this TensorRT can load", "deserialize_cuda_engine failed")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._refuse("memory for an execution context", "create_execution_context failed")
        self.inputs: dict[str, npt.NDArray[Any]] = {}
        self.outputs: dict[str, npt.NDArray[Any]] = {}
        self._device: dict[str, int] = {}
        self._dtypes = {trt.float32: np.float32, trt.int64: np.int64, trt.int32: np.int32}
        for place in range(self._engine.num_io_tensors):
            self._bind(self._engine.get_tensor_name(place))
        self._stream = cuda.stream()
        self._queue()  # TensorRT finishes its own set-up in the first inference, which must not be captured
        cuda.synchronize(self._stream)
        self._graph = self._capture()

    def _refuse(self, expected: str, found: str) -> Refused:
        return Refused("engine", expected=expected, found=found, what_to_do=self._rebuild)

    def _bind(self, name: str) -> None:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        kind = self._engine.get_tensor_dtype(name)
        if min(shape, default=0) < 0 or kind not in self._dtypes:
            raise self._refuse(f"tensor {name} of fixed size and float32, int64 or int32", f"{shape} of {kind}")
        array = self._cuda.host_array(shape, self._dtypes[kind])
        is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        (self.inputs if is_input else self.outputs)[name] = array
        self._device[name] = self._cuda.device_memory(array.nbytes)
        if not self._context.set_tensor_address(name, self._device[name]):
            raise self._refuse(f"an address for tensor {name}", "set_tensor_address failed")

    def _queue(self) -> None:
        for name, array in self.inputs.items():
            self._cuda.copy(self._device[name], array.ctypes.data, array.nbytes, TO_DEVICE, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise self._refuse("an inference", "execute_async_v3 failed")
        for name, array in self.outputs.items():
            self._cuda.copy(array.ctypes.data, self._device[name], array.nbytes, TO_HOST, self._stream)

    def _capture(self) -> int:
        """The inference as a CUDA graph; 0 where this network cannot be captured."""
        self._cuda.begin_capture(self._stream)
        try:
            try:
                self._queue()
            finally:
                graph = self._cuda.end_capture(self._stream)
        except Refused:
            self._queue()
            self._cuda.synchronize(self._stream)
            return 0
        return graph

    @property
    def graph(self) -> bool:
        """Whether an inference is one captured CUDA graph."""
        return self._graph != 0

    def run(self) -> None:
        """Read the inputs, write the outputs; allocates nothing."""
        if self._graph:
            self._cuda.launch(self._graph, self._stream)
        else:
            self._queue()
        self._cuda.synchronize(self._stream)

    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the ONNX the engine was built from."""
        return dict(self._metadata)
