"""Who does which stage: a settings file that names providers, and the embedded default where it names none.

    {"schema": "exoactor-providers/1",
     "decompose": {"provider": "openai-chat", "model": "gpt-5.4", "usd_per_call": 0.01},
     "embody":    {"provider": "google-image"},
     "film":      {"provider": "fal-kling-v1", "usd_per_s": 0.05},
     "estimate":  {"command": ["python", "tools/demo/demo.py", "--video={video}", "--output_root={out}", "-s"],
                   "result": "*/hmr4d_results.pt", "format": "gvhmr", "hands": "*/hands.pkl", "timeout_s": 3600}}

Keys are never in it: `key_env` names the environment variable that holds one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.imagine.description import load_description
from export.imagine.http import Patience
from export.imagine.provider import Provider
from runtime.errors import Refused
from runtime.reader import Reader, parse_json

SCHEMA = "exoactor-providers/1"
KIND_OF = {"decompose": "chat", "embody": "image", "film": "video"}
"""The stages that a described provider may do, and of which kind it has to be."""
_OPTIONS = {"provider", "model", "base_url", "key_env", "usd_per_call", "usd_per_s"}
_COMMAND = {"command", "result", "format", "hands", "timeout_s"}


@dataclass(frozen=True)
class Estimator:
    """A program that makes a motion's file of a video's.

    Attributes:
        command: words; {video} and {out} (an empty folder) are filled in.
        result: of what it leaves there, a glob that fits one file. format: as `exoactor motion convert --from`.
        hands: a glob of hand tracks, "" for none.
    """

    command: tuple[str, ...]
    result: str
    format: str | None = None
    hands: str = ""
    timeout_s: float = 3600.0


@dataclass(frozen=True)
class Providers:
    """What a settings file says; a stage it does not name is done by the embedded default."""

    described: dict[str, dict[str, Any]] = field(default_factory=dict)
    estimator: Estimator | None = None

    def of(self, stage: str, patience: Patience | None = None) -> Provider | None:
        """A stage's provider; None for the embedded default.

        Raises:
            Refused: of another kind, or its key is missing.
        """
        options = dict(self.described.get(stage, {}))
        if not options:
            return None
        description = load_description(options.pop("provider"))
        if description.kind != KIND_OF[stage]:
            raise Refused(f"provider of {stage}", expected=f"one of kind {KIND_OF[stage]}",
                          found=f"{description.name}, which is of kind {description.kind}",
                          what_to_do="name another in the settings file")
        return Provider(description, patience=patience, **options)


def load_providers(path: Path | None) -> Providers:
    """The settings of a file; all embedded without one.

    Raises:
        Refused: no such file, another form, or a key written into it.
    """
    if path is None:
        return Providers()
    reader = Reader(f"providers {path.name}", "see docs/imagine.md")
    try:
        data = parse_json(path.read_bytes(), reader)
    except OSError as error:
        raise reader.refuse("file", "a readable file", f"{error}") from error
    reader.keys("", data, {"schema", "estimate", *KIND_OF}, {"schema"})
    reader.one_of("schema", data["schema"], (SCHEMA,))
    described = {}
    for stage in KIND_OF:
        if stage in data:
            row = data[stage]
            reader.keys(stage, row, _OPTIONS, {"provider"})
            for key in _OPTIONS & set(row):
                check = reader.number if key.startswith("usd") else reader.text
                check(f"{stage}.{key}", row[key])
            described[stage] = row
    return Providers(described, _estimator(reader, data["estimate"]) if "estimate" in data else None)


def _estimator(reader: Reader, row: Any) -> Estimator:
    reader.keys("estimate", row, _COMMAND, {"command", "result"})
    command = reader.texts("estimate.command", row["command"])
    if not any("{video}" in word for word in command) or not any("{out}" in word for word in command):
        raise reader.refuse("estimate.command", "words with {video} and {out}", " ".join(command))
    return Estimator(command, reader.text("estimate.result", row["result"]), row.get("format"), row.get("hands", ""),
                     reader.number("estimate.timeout_s", row.get("timeout_s", 3600.0), 1, 7 * 86400))
