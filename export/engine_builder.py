"""Builds TensorRT engines: precision is decided in the graph, and TF32 is off unless it is asked for.

Networks are strongly typed: TensorRT 11 knows no other kind and has no FP16 flag any more; TensorRT 10 has both. So
FP16 means an ONNX converted to FP16, and what runs is what the graph says. Not yet run on a GPU: docs/hardware.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

from export.layers import in_half_precision, with_fixed_sizes
from runtime.cuda import Cuda, open_cuda
from runtime.engine import EngineModel, load_tensorrt, this_machine
from runtime.engine_file import EngineFile, EngineKey
from runtime.errors import Refused


def built_engine(onnx: bytes, precision: str) -> EngineModel:
    """A network compiled here and now and loaded, without a file."""
    trt, cuda = load_tensorrt(), open_cuda()
    return EngineModel(build_engine(onnx, precision, trt, cuda), trt, cuda)


def build_engine(onnx: bytes, precision: str, trt: Any, cuda: Cuda) -> EngineFile:
    """Compile a network for this machine.

    Args:
        onnx: the file's bytes; the engine is tied to exactly these.
        precision: fp32 (TF32 off), tf32 or fp16.

    Raises:
        Refused: what the parser cannot read, each error named, or what the builder cannot build.
    """
    fixed = with_fixed_sizes(onnx)
    plan = build_plan(in_half_precision(fixed) if precision == "fp16" else fixed, trt, tf32=precision == "tf32")
    key = EngineKey(hashlib.sha256(onnx).hexdigest(), precision, **asdict(this_machine(trt, cuda)))
    return EngineFile(key, plan, _metadata(onnx))


def build_plan(onnx: bytes, trt: Any, *, tf32: bool) -> bytes:
    """TensorRT's own bytes for a network."""
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    if not parser.parse(onnx):
        errors = [str(parser.get_error(place)) for place in range(parser.num_errors)]
        raise Refused("network", expected="operators that TensorRT's ONNX parser knows", found="; ".join(errors)[:2000],
                      what_to_do="export it with simpler operators, or use --backend cuda or cpu")
    config = builder.create_builder_config()
    if tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if bool(config.get_flag(trt.BuilderFlag.TF32)) != tf32:
        raise Refused("TensorRT", expected=f"TF32 {'on' if tf32 else 'off'}", found="the opposite",
                      what_to_do="this TensorRT does not let TF32 be set; use --backend cuda or cpu")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Refused("network", expected="one that TensorRT can build", found="build_serialized_network failed",
                      what_to_do="read TensorRT's messages above; use --backend cuda or cpu meanwhile")
    return bytes(plan)


def _metadata(onnx: bytes) -> dict[str, str]:
    from onnx import load_model_from_string

    return {entry.key: entry.value for entry in load_model_from_string(onnx).metadata_props}
