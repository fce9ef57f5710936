"""One network on ONNX Runtime: one thread, buffers bound once, and the provider that was asked for or none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
NOWHERE = "/dev/null/nowhere"
"""A folder that cannot exist."""
_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(double)": np.float64}


def _with_settings(backend: str) -> str | tuple[str, dict[str, str]]:
    """The provider with TF32 off: its 10-bit mantissas move actions and flip token bins."""
    if backend == "cuda":
        return PROVIDERS[backend], {"use_tf32": "0"}
    if backend == "tensorrt":  # this provider has no setting for it; the variable rules all of NVIDIA's libraries
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    return PROVIDERS[backend]


class Model:
    """A loaded network with fixed inputs and outputs.

    Args:
        source: ONNX file, or its bytes.
        backend: cpu, cuda or tensorrt. ONNX Runtime falls back to the CPU without a word; here that is refused.

    Attributes:
        inputs, outputs: name -> array the graph reads or writes; symbolic dimensions are 1.
    """

    def __init__(self, source: Path | bytes, backend: str = "cpu") -> None:
        import onnxruntime as ort

        self.backend = backend
        what = f"model {source.name}" if isinstance(source, Path) else "model"
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if isinstance(source, bytes):  # verified bytes: no weights from files of the working directory
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
        if backend not in PROVIDERS:
            raise Refused("backend", expected=f"one of {', '.join(PROVIDERS)}", found=backend,
                          what_to_do="choose one of these")
        wanted = PROVIDERS[backend]
        if wanted not in ort.get_available_providers():
            raise Refused("backend", expected=f"{wanted} in this onnxruntime",
                          found=", ".join(ort.get_available_providers()),
                          what_to_do="install the matching onnxruntime build or use --backend cpu")
        try:
            self._session = ort.InferenceSession(
                str(source) if isinstance(source, Path) else source, options, providers=[_with_settings(backend)]
            )
        except Exception as error:  # onnxruntime raises its own family, of which no base is public
            raise Refused(what, expected="an ONNX network this onnxruntime can load",
                          found=str(error).splitlines()[0][:300],
                          what_to_do="the file is damaged, cut short or of a newer opset: export it again") from error
        if self._session.get_providers()[0] != wanted:
            raise Refused("backend", expected=wanted, found=", ".join(self._session.get_providers()),
                          what_to_do="the accelerator could not be used; repair its installation or use --backend cpu")
        self.inputs = {node.name: self._array(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: self._array(node) for node in self._session.get_outputs()}
        self._binding = self._session.io_binding()
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        try:
            self.run()
        except Exception as error:
            raise Refused(what, expected="a network that runs on a batch of one",
                          found=str(error).splitlines()[0][:300],
                          what_to_do="export it with fixed sizes, the batch alone may be symbolic") from error

    @staticmethod
    def _array(node: Any) -> npt.NDArray[Any]:
        if node.type not in _DTYPES:
            raise Refused(f"model tensor {node.name}", expected=f"one of {', '.join(_DTYPES)}", found=str(node.type),
                          what_to_do="export the network with float inputs and outputs")
        shape = [size if isinstance(size, int) and size > 0 else 1 for size in node.shape]
        return np.zeros(shape, _DTYPES[node.type])

    def run(self) -> None:
        """Read the bound inputs, write the bound outputs; allocates nothing that stays."""
        self._session.run_with_iobinding(self._binding)

    def metadata(self) -> dict[str, str]:
        """What the exporter wrote into the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)
