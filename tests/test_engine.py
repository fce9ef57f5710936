"""Engines: what they are tied to, who may have written them, how they run, and what `auto` makes of it all."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
pytest.importorskip("onnx", reason="missing dependency: onnx")

import exoactor
from export.engine_builder import build_engine
from runtime import backend, engine_file
from runtime.backend import open_model
from runtime.engine import EngineModel, load_tensorrt
from runtime.engine_file import EngineFile, EngineKey, Machine, engine_path, read_engine, write_engine
from runtime.errors import Refused
from runtime.log_file import read_log
from runtime.model import Model
from tests import tiny_bundle, tiny_onnx
from tests.fake_gpu import FakeCuda, FakeTensorRT
from tests.tiny_onnx import FLOAT, node

MACHINE = Machine("10.3.0", "Fake GPU", "8.7")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("EXOACTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """TensorRT and a GPU."""
    cuda = FakeCuda()
    trt = FakeTensorRT(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    for module in ("runtime.cuda", "runtime.engine", "export.engine_builder", "export.engine_command"):
        __import__(module)
        monkeypatch.setattr(sys.modules[module], "open_cuda", lambda: cuda)
    return trt


def stored(**changes: Any) -> tuple[str, Path]:
    """An engine of a network of which only the hash is known: (hash, path)."""
    digest = hashlib.sha256(b"network").hexdigest()
    key = EngineKey(**{"onnx_sha256": digest, "precision": "fp32", **asdict(MACHINE), **changes})
    path = write_engine(EngineFile(key, b"plan\nof many\nbytes", {"joint_names": "a"}, {"build_s": 1.0}))
    path.replace(engine_path(digest, "fp32"))
    return digest, engine_path(digest, "fp32")


# ---- the file


def test_an_engine_comes_back_as_it_was_stored(cache: Path) -> None:
    digest, path = stored()
    engine = read_engine(digest, "fp32", MACHINE, "bundles/x")
    assert (engine.plan, engine.metadata, engine.measured) == (b"plan\nof many\nbytes", {"joint_names": "a"},
                                                              {"build_s": 1.0})
    assert path.parent == cache
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        ({"tensorrt": "10.13.2"}, "stale", "10.13.2"),
        ({"gpu": "Orin"}, "foreign", "Orin"),
        ({"compute_capability": "9.0"}, "foreign", "9.0"),
        ({"onnx_sha256": "0" * 64}, "an engine of this network", "0000"),
        ({"precision": "fp16"}, "this precision", "fp16"),
    ],
)
def test_an_engine_of_something_else_is_refused_with_the_command_that_rebuilds_it(
    change: dict[str, str], expected: str, found: str
) -> None:
    digest, _ = stored(**change)
    with pytest.raises(Refused) as refused:
        read_engine(digest, "fp32", MACHINE, "bundles/x")
    assert expected in refused.value.expected
    assert found in refused.value.found
    assert refused.value.what_to_do.endswith("exoactor export engine bundles/x --force")


@pytest.mark.parametrize("place", [0, 20, 90, 200, -1])
def test_one_changed_byte_anywhere_is_a_damaged_engine(place: int) -> None:
    digest, path = stored()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Refused, match="damaged"):
        read_engine(digest, "fp32", MACHINE, "x")


@pytest.mark.parametrize("keep", [0, 10, 81, 82, -1])
def test_a_cut_engine_is_a_damaged_one(keep: int) -> None:
    digest, path = stored()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Refused, match="damaged"):
        read_engine(digest, "fp32", MACHINE, "x")


def test_a_header_of_another_version_is_refused() -> None:
    digest, path = stored()
    rest = b'{"key": {"onnx": "x"}}\nplan'
    path.write_bytes(engine_file.MAGIC + hashlib.sha256(rest).hexdigest().encode() + rest)
    with pytest.raises(Refused, match="the header of this version"):
        read_engine(digest, "fp32", MACHINE, "x")


def test_an_engine_that_others_may_write_is_refused() -> None:
    digest, path = stored()
    path.chmod(0o640)
    read_engine(digest, "fp32", MACHINE, "x")
    path.chmod(0o620)
    with pytest.raises(Refused, match="mode 620"):
        read_engine(digest, "fp32", MACHINE, "x")
    path.chmod(0o600)
    path.parent.chmod(0o777)
    with pytest.raises(Refused, match="mode 777"):
        read_engine(digest, "fp32", MACHINE, "x")


def test_somebody_else_s_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    digest, path = stored()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    if path.stat().st_uid == 0:  # root's files are fine for everybody
        assert read_engine(digest, "fp32", MACHINE, "x").key.precision == "fp32"
        os.chown(path, 12345, -1)
    with pytest.raises(Refused, match="owner uid"):
        read_engine(digest, "fp32", MACHINE, "x")


def test_each_precision_is_a_file_of_its_own_and_its_command_says_so() -> None:
    digest, _ = stored()
    with pytest.raises(Refused) as refused:
        read_engine(digest, "fp16", MACHINE, "policy.onnx")
    assert refused.value.what_to_do.endswith("exoactor export engine policy.onnx --fp16 --force")


# ---- the run


def built(gpu: FakeTensorRT, path: Path, precision: str = "fp32") -> EngineModel:
    return EngineModel(build_engine(path.read_bytes(), precision, gpu, gpu.cuda), gpu, gpu.cuda)


def test_an_engine_gives_what_the_network_gives(gpu: FakeTensorRT, tmp_path: Path) -> None:
    path = tiny_bundle.network(tmp_path / "net.onnx")
    engine, model = built(gpu, path), Model(path)
    assert engine.backend == "engine"
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=model.inputs["obs"].shape)
        engine.inputs["obs"][...], model.inputs["obs"][...] = values, values
        engine.run()
        model.run()
        np.testing.assert_allclose(engine.outputs["action"], model.outputs["action"], atol=1e-6)


def test_buffers_are_bound_once_and_a_run_is_one_launch(gpu: FakeTensorRT, tmp_path: Path) -> None:
    engine = built(gpu, tiny_bundle.network(tmp_path / "net.onnx"))
    assert engine.graph
    assert [call for call in gpu.cuda.calls if call.startswith("bind")] == ["bind obs", "bind action"]
    after_binding = gpu.cuda.calls[gpu.cuda.calls.index("bind action") + 1 :]
    once = ["copy", "execute", "copy"]
    assert after_binding == [*once, "synchronize", "begin_capture", *once]  # TensorRT's first inference is not captured
    address = engine.outputs["action"].ctypes.data
    gpu.cuda.calls.clear()
    for _ in range(3):
        engine.run()
    assert gpu.cuda.calls == ["launch", "synchronize"] * 3
    assert engine.outputs["action"].ctypes.data == address


def test_a_network_that_cannot_be_captured_runs_without_a_graph(gpu: FakeTensorRT, tmp_path: Path) -> None:
    gpu.cuda.can_capture = False
    path = tiny_bundle.network(tmp_path / "net.onnx")
    engine, model = built(gpu, path), Model(path)
    assert not engine.graph
    engine.inputs["obs"][...] = model.inputs["obs"][...] = 0.5
    gpu.cuda.calls.clear()
    engine.run()
    model.run()
    assert gpu.cuda.calls == ["copy", "execute", "copy", "synchronize"]
    np.testing.assert_allclose(engine.outputs["action"], model.outputs["action"], atol=1e-6)


def test_what_tensorrt_will_not_load_or_run_is_refused(gpu: FakeTensorRT, tmp_path: Path) -> None:
    file = build_engine(tiny_bundle.network(tmp_path / "net.onnx").read_bytes(), "fp32", gpu, gpu.cuda)
    gpu.load_fails = True
    with pytest.raises(Refused, match="deserialize_cuda_engine failed; build it here"):
        EngineModel(file, gpu, gpu.cuda, "build it here")
    gpu.load_fails, gpu.execute_fails = False, True
    with pytest.raises(Refused, match="execute_async_v3 failed"):
        EngineModel(file, gpu, gpu.cuda)


def test_an_engine_of_open_sizes_is_refused(gpu: FakeTensorRT, tmp_path: Path) -> None:
    path = tiny_onnx.write(tmp_path / "open.onnx", [node("Identity", ["obs"], ["action"])],
                           [("obs", FLOAT, ("batch", 4))], [("action", FLOAT, ("batch", 4))])
    assert built(gpu, path).inputs["obs"].shape == (1, 4)  # the builder fixes them
    file = build_engine(path.read_bytes(), "fp32", gpu, gpu.cuda)
    with pytest.raises(Refused, match=r"tensor obs of fixed size and float32.*\(-1, 4\)"):
        EngineModel(replace(file, plan=b'{"tf32": false}\n' + path.read_bytes()), gpu, gpu.cuda)


def test_tensorrt_is_taken_under_either_name_and_not_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    with pytest.raises(Refused) as refused:
        load_tensorrt()
    assert "exoactor[gpu]" in refused.value.what_to_do
    trt = FakeTensorRT(FakeCuda(), "11.4.0.106")
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", trt)
    assert load_tensorrt() is trt
    trt.__version__ = "8.6.2"
    with pytest.raises(Refused, match=r"found 8\.6\.2"):
        load_tensorrt()


# ---- the build


@pytest.mark.parametrize(("precision", "tf32", "half"), [("fp32", False, False), ("tf32", True, False),
                                                        ("fp16", False, True)])
def test_precision_is_what_was_asked_for(
    gpu: FakeTensorRT, tmp_path: Path, precision: str, tf32: bool, half: bool
) -> None:
    import onnx

    path = tiny_bundle.network(tmp_path / "net.onnx")
    file = build_engine(path.read_bytes(), precision, gpu, gpu.cuda)
    about, _, plan = file.plan.partition(b"\n")
    assert json.loads(about) == {"tf32": tf32}
    assert gpu.creation == 1 << FakeTensorRT.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    (weights,) = onnx.load_model_from_string(plan).graph.initializer
    assert (weights.data_type == onnx.TensorProto.FLOAT16) is half
    assert file.key == EngineKey(hashlib.sha256(path.read_bytes()).hexdigest(), precision, **asdict(MACHINE))


def test_an_engine_keeps_the_exporters_notes(gpu: FakeTensorRT, tmp_path: Path) -> None:
    path = tiny_onnx.write(tmp_path / "noted.onnx", [node("Identity", ["obs"], ["action"])],
                           [("obs", FLOAT, (1, 4))], [("action", FLOAT, (1, 4))], metadata={"joint_names": "a,b"})
    assert built(gpu, path).metadata() == Model(path).metadata() == {"joint_names": "a,b"}


def test_every_error_of_the_parser_is_named(gpu: FakeTensorRT, tmp_path: Path) -> None:
    gpu.parse_errors = ["node 3: no importer for Frobnicate", "node 5: bad shape"]
    with pytest.raises(Refused, match="Frobnicate; node 5: bad shape"):
        build_engine(tiny_bundle.network(tmp_path / "net.onnx").read_bytes(), "fp32", gpu, gpu.cuda)
    gpu.parse_errors, gpu.plan_fails = [], True
    with pytest.raises(Refused, match="build_serialized_network failed"):
        build_engine(tiny_bundle.network(tmp_path / "net.onnx").read_bytes(), "fp32", gpu, gpu.cuda)


# ---- the command


def export_engine(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = exoactor.main(["export", "engine", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_an_engine_is_built_compared_stored_and_used(
    gpu: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle.make(tmp_path)
    code, report = export_engine(capsys, str(bundle), "--ticks", "50")
    (row,) = report["engines"]
    assert (code, row["ok"], row["built"], row["observations"] > 80) == (0, True, True, True)
    assert row["max_action_error"] <= 1e-6
    assert Path(row["path"]).is_file()
    notes: list[str] = []
    model = open_model((bundle / "policy.onnx").read_bytes(), "auto", str(bundle), notes.append)
    assert isinstance(model, EngineModel)
    assert notes == ["engine"]
    code, report = export_engine(capsys, str(bundle), "--ticks", "50")
    assert (code, report["engines"][0]["built"]) == (0, False)
    code, report = export_engine(capsys, str(bundle), "--ticks", "50", "--force")
    assert (code, report["engines"][0]["built"]) == (0, True)


def test_a_stale_engine_is_refused_by_the_runtime_and_replaced_by_the_command(
    gpu: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle.network(tmp_path / "net.onnx")
    export_engine(capsys, str(path), "--ticks", "5")
    gpu.__version__ = "10.13.3"
    gpu.deserialised.clear()
    with pytest.raises(Refused, match=f"stale.*exoactor export engine {path} --force"):
        open_model(path, "engine")
    assert gpu.deserialised == []
    code, report = export_engine(capsys, str(path), "--ticks", "5")
    assert (code, report["engines"][0]["built"]) == (0, True)
    assert open_model(path, "engine").backend == "engine"


def test_an_engine_beyond_its_tolerance_is_not_stored(
    gpu: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    gpu.spoil = lambda name, values: values + (0.002 if name in ("h", "action") else 0)
    path = tiny_bundle.network(tmp_path / "net.onnx")
    code, report = export_engine(capsys, str(path), "--ticks", "5")
    (row,) = report["engines"]
    assert (code, row["ok"], row["built"]) == (1, False, False)
    assert row["first_differing_layer"]["tensor"] == "h"
    assert not list(cache.glob("*")) if cache.exists() else True
    code, report = export_engine(capsys, str(path), "--ticks", "5", "--fp16")
    assert (code, report["engines"][0]["tolerance"]) == (0, backend.ACTION_TOLERANCES["fp16"])
    assert open_model(path, "engine-fp16").backend == "engine-fp16"


def test_without_tensorrt_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    code, report = export_engine(capsys, "policy.onnx")
    assert code == 2
    assert "exoactor[gpu]" in report["what_to_do"]


# ---- auto


class Session:
    """An onnxruntime in which other providers work, too: computes on the CPU and says otherwise."""

    working: tuple[str, ...] = ()

    def __init__(self, real: Any, source: Any, options: Any, providers: list[Any]) -> None:
        self._session = real(source, options, providers=["CPUExecutionProvider"])
        names = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        self._providers = [name for name in names if name in self.working] + ["CPUExecutionProvider"]
        self.settings = providers

    def get_providers(self) -> list[str]:
        return self._providers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call with (listed, working) names of backends."""
    import onnxruntime as ort

    real = ort.InferenceSession
    made: list[Session] = []

    def make(source: Any, options: Any = None, providers: Any = ()) -> Session:
        made.append(Session(real, source, options, providers))
        return made[-1]

    def choose(listed: tuple[str, ...], working: tuple[str, ...]) -> list[Session]:
        names = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
        monkeypatch.setattr(ort, "get_available_providers",
                            lambda: [names[name] for name in listed] + ["CPUExecutionProvider"])
        monkeypatch.setattr(Session, "working", tuple(names[name] for name in working))
        return made

    monkeypatch.setattr(ort, "InferenceSession", make)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    return choose


@pytest.mark.parametrize(
    ("listed", "working", "taken", "passed_over"),
    [
        ((), (), "cpu", ["engine", "tensorrt", "cuda"]),
        (("cuda",), ("cuda",), "cuda", ["engine", "tensorrt"]),
        (("tensorrt", "cuda"), ("tensorrt", "cuda"), "tensorrt", ["engine"]),
        (("tensorrt", "cuda"), ("cuda",), "cuda", ["engine", "tensorrt"]),
        (("tensorrt", "cuda"), (), "cpu", ["engine", "tensorrt", "cuda"]),
    ],
)
def test_auto_takes_what_really_works_and_says_so(
    providers: Any, tmp_path: Path, listed: tuple[str, ...], working: tuple[str, ...], taken: str,
    passed_over: list[str],
) -> None:
    providers(listed, working)
    notes: list[str] = []
    model = open_model(tiny_bundle.network(tmp_path / "net.onnx"), "auto", say=notes.append)
    assert model.backend == taken
    (note,) = notes
    assert note.startswith(taken)
    assert [name for name in backend.AUTO if f"not {name}:" in note] == passed_over


def test_a_provider_that_silently_falls_back_is_refused_by_name(providers: Any, tmp_path: Path) -> None:
    providers(("cuda",), ())
    path = tiny_bundle.network(tmp_path / "net.onnx")
    with pytest.raises(Refused, match="expected CUDAExecutionProvider, found CPUExecutionProvider"):
        open_model(path, "cuda")


def test_providers_run_without_tf32(providers: Any, tmp_path: Path) -> None:
    made = providers(("cuda", "tensorrt"), ("cuda", "tensorrt"))
    path = tiny_bundle.network(tmp_path / "net.onnx")
    open_model(path, "cuda")
    assert made[-1].settings == [("CUDAExecutionProvider", {"use_tf32": "0"})]
    open_model(path, "tensorrt")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    del os.environ["NVIDIA_TF32_OVERRIDE"]


def test_auto_passes_over_a_stale_engine_and_says_why(
    gpu: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle.network(tmp_path / "net.onnx")
    export_engine(capsys, str(path), "--ticks", "5")
    gpu.cuda.name = "Another GPU"
    notes: list[str] = []
    assert open_model(path, "auto", say=notes.append).backend == "cpu"
    assert "not engine:" in notes[0] and "found Fake GPU" in notes[0]


def test_auto_never_takes_an_engine_of_less_precision(
    gpu: FakeTensorRT, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle.network(tmp_path / "net.onnx")
    export_engine(capsys, str(path), "--ticks", "5", "--tf32")
    assert open_model(path, "auto").backend == "cpu"
    assert open_model(path, "engine-tf32").backend == "engine-tf32"


def test_a_run_says_what_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    out = tmp_path / "out"
    words = ("--controller", str(tiny_bundle.make(tmp_path)), "--lockstep", "--duration", "0.1", "--out", str(out))
    exoactor.main(["run", *words, "--backend", "auto"])
    assert "backend: cpu (not engine: " in capsys.readouterr().err
    assert json.loads((out / "report.json").read_text("utf-8"))["backend"] == "cpu"
    assert read_log(out / "log.mcap").about["backend"] == "cpu"


def test_an_unknown_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="one of auto, cpu, cuda, tensorrt, engine, engine-tf32, engine-fp16"):
        open_model(tmp_path / "net.onnx", "npu")


def test_a_network_that_no_backend_can_load_is_refused_by_the_last(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(Refused, match="an ONNX network this onnxruntime can load"):
        open_model(path, "auto")
    with pytest.raises(Refused, match="a readable ONNX file"):
        open_model(tmp_path / "none.onnx", "engine")
