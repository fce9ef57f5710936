"""TensorRT engines on disk: which network, TensorRT, GPU and precision each was built for, checked before it is used.

An engine is compiled code: loading one runs it. So nothing is handed to TensorRT before the file's owner, its checksum
and its key have been looked at. The checksum finds damage, not malice: whoever can write the file can write a checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from runtime.errors import Refused

MAGIC = b"exoactor-engine/1\n"
PRECISIONS = ("fp32", "tf32", "fp16")
_DIGEST = 64


@dataclass(frozen=True)
class Machine:
    """What an engine is tied to besides its network."""

    tensorrt: str
    gpu: str
    compute_capability: str


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from and for; every field must fit.

    Attributes:
        onnx_sha256: of the ONNX file's bytes.
        precision: fp32 (TF32 off), tf32 or fp16.
    """

    onnx_sha256: str
    precision: str
    tensorrt: str
    gpu: str
    compute_capability: str


@dataclass(frozen=True)
class EngineFile:
    """One engine.

    Attributes:
        metadata: what the exporter wrote into the ONNX.
        measured: parity and times when it was built, for people.
        plan: TensorRT's own bytes.
    """

    key: EngineKey
    plan: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)


def engine_folder() -> Path:
    """`$EXOACTOR_CACHE/engines`, else `~/.cache/exoactor/engines`."""
    chosen = os.environ.get("EXOACTOR_CACHE")
    return (Path(chosen) if chosen else Path.home() / ".cache" / "exoactor") / "engines"


def engine_path(onnx_sha256: str, precision: str) -> Path:
    """Where the engine of a network lies on this computer."""
    return engine_folder() / f"{onnx_sha256}-{precision}.engine"


def rebuild_command(origin: str, precision: str) -> str:
    """The command line that builds an engine anew. `origin`: bundle, manifest or ONNX file."""
    flag = "" if precision == "fp32" else f" --{precision}"
    return f"exoactor export engine {origin}{flag} --force"


def write_engine(engine: EngineFile) -> Path:
    """Store an engine where `read_engine` finds it; only this user may read or write it."""
    path = engine_path(engine.key.onnx_sha256, engine.key.precision)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    header = {"key": asdict(engine.key), "metadata": engine.metadata, "measured": engine.measured}
    rest = json.dumps(header).encode() + b"\n" + engine.plan
    fresh = path.with_suffix(".tmp")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(MAGIC + hashlib.sha256(rest).hexdigest().encode() + rest)
    fresh.replace(path)
    return path


def read_engine(onnx_sha256: str, precision: str, machine: Machine, origin: str) -> EngineFile:
    """The engine of a network for this machine.

    Args:
        origin: what to name in the command that rebuilds it.

    Raises:
        Refused: there is none, somebody else may have written it, it is damaged, or built from or for something else.
    """
    path = engine_path(onnx_sha256, precision)
    what_to_do = f"build it here: {rebuild_command(origin, precision)}"
    if not path.is_file():
        raise Refused(f"{precision} engine of {origin}", expected=f"{path}", found="no such file",
                      what_to_do=what_to_do)
    _check_owner(path, what_to_do)
    engine = _parse(path, what_to_do)
    wanted = EngineKey(onnx_sha256, precision, **asdict(machine))
    reasons = {
        "onnx_sha256": "an engine of this network",
        "precision": "this precision",
        "tensorrt": "an engine of this TensorRT (stale otherwise: other versions may compute other numbers)",
        "gpu": "an engine built on this GPU (foreign otherwise)",
        "compute_capability": "an engine built on this GPU (foreign otherwise)",
    }
    for entry in fields(EngineKey):
        expected, found = getattr(wanted, entry.name), getattr(engine.key, entry.name)
        if expected != found:
            raise Refused(f"engine {path.name}, {entry.name}", expected=f"{expected}: {reasons[entry.name]}",
                          found=found, what_to_do=what_to_do)
    return engine


def _check_owner(path: Path, what_to_do: str) -> None:
    for place in (path.parent, path):
        about = place.stat()
        others_write = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if about.st_uid not in (0, os.geteuid()) or others_write:
            raise Refused(
                f"engine {path.name}", expected=f"{place} to be written by nobody but uid {os.geteuid()}",
                found=f"owner uid {about.st_uid}, mode {stat.S_IMODE(about.st_mode):o}",
                what_to_do=f"an engine is code: correct owner and mode, then {what_to_do}",
            )


def _parse(path: Path, what_to_do: str) -> EngineFile:
    content = path.read_bytes()
    digest, rest = content[len(MAGIC) : len(MAGIC) + _DIGEST], content[len(MAGIC) + _DIGEST :]
    found = hashlib.sha256(rest).hexdigest()
    if not content.startswith(MAGIC) or digest != found.encode():
        raise Refused(f"engine {path.name}", expected=f"{MAGIC.decode().strip()} with a checksum that fits",
                      found="a damaged file or one of another kind", what_to_do=what_to_do)
    header, _, plan = rest.partition(b"\n")
    try:
        data = json.loads(header)
        return EngineFile(EngineKey(**data["key"]), plan, data["metadata"], data["measured"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"engine {path.name}", expected="the header of this version", found=f"{error!r}",
                      what_to_do=what_to_do) from error
