"""A run's folder: one stage after the other, each with its files, and a manifest that says where they come from.

    RUN/manifest.json        the request, and for each stage: provider, version, seed, cost, seconds, sha256 of files
    RUN/given/               what came with the request: a picture, a scene
    RUN/NAME/                what a stage gave; there as a whole or not at all
    RUN/NAME.calls/          what was asked of a provider, and its answers
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from export.imagine.ledger import write_whole
from runtime.errors import Refused
from runtime.reader import Reader, parse_json

FORMAT = "exoactor-imagine/1"
MANIFEST, GIVEN = "manifest.json", "given"
BY_HAND = "by hand"


@dataclass
class Row:
    """What the manifest says of a stage.

    Attributes:
        key: digest of all that decides its outputs: settings, seed, inputs' files.
        provider: who did it, BY_HAND where a person put the files there. version: of the code, model or tool.
        inputs, outputs: sha256 of each file, by its path in the run's folder.
        attempt: how often it was asked for anew.
        error: how it failed the last time; "" where it is done.
    """

    stage: str
    key: str = ""
    provider: str = ""
    version: str = ""
    seed: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    finished_utc: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    attempt: int = 0
    error: str = ""

    @property
    def is_done(self) -> bool:
        """Whether its outputs are there to be used."""
        return bool(self.outputs) and not self.error


class RunFolder:
    """The folder of one run; made, or opened as it was left.

    Raises:
        Refused: a folder that holds something else; a damaged manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.request = path, dict[str, Any]()
        self._rows: dict[str, Row] = {}
        manifest = path / MANIFEST
        if manifest.exists():
            self._read(manifest)
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Refused("--out", expected="a new folder, or one of an earlier run", found=f"{path}, which is neither",
                          what_to_do="name another folder")
        else:
            path.mkdir(parents=True, exist_ok=True)

    def _read(self, manifest: Path) -> None:
        reader = Reader(f"{manifest}", "restore it, or begin in a new folder")
        data = parse_json(manifest.read_bytes(), reader)
        reader.keys("", data, {"format", "request", "stages"}, {"format", "request", "stages"})
        reader.one_of("format", data["format"], (FORMAT,))
        reader.keys("request", data["request"], None)
        known = set(asdict(Row("")))
        for i, row in enumerate(data["stages"]):
            reader.keys(f"stages[{i}]", row, known, {"stage"})
            self._rows[row["stage"]] = Row(**row)
        self.request = data["request"]

    def ask(self, task: str, seed: int, files: Mapping[str, Path]) -> None:
        """What the run is to do: words, seed, and the files that come with it, which are copied.

        Raises:
            Refused: no such file.
        """
        given = dict(self.request.get("given", {}))
        for name, path in files.items():
            if not path.is_file():
                raise Refused(f"--{name}", expected="a file", found=f"nothing at {path}", what_to_do="check the path")
            data = path.read_bytes()
            (self.path / GIVEN).mkdir(exist_ok=True)
            write_whole(self.path / GIVEN / name, data)
            given[name] = hashlib.sha256(data).hexdigest()
        self.request = {"task": task, "seed": seed, "given": given}
        self.save()

    def given(self, name: str) -> Path | None:
        """A file that came with the request."""
        return self.path / GIVEN / name if name in self.request.get("given", {}) else None

    def save(self) -> None:
        """Write the manifest."""
        data = {"format": FORMAT, "request": self.request, "stages": [asdict(row) for row in self._rows.values()]}
        write_whole(self.path / MANIFEST, json.dumps(data, indent=1).encode())

    def row(self, stage: str) -> Row:
        """What is known of a stage."""
        return self._rows.setdefault(stage, Row(stage))

    def files(self, stages: Sequence[str]) -> dict[str, str]:
        """sha256 of the files of stages that are done, by path."""
        return {path: digest for stage in stages for path, digest in self.row(stage).outputs.items()}

    def of(self, stage: str) -> Path:
        """Where a stage's files lie."""
        return self.path / stage

    def calls(self, stage: str) -> Path:
        """Where its requests lie."""
        return self.path / f"{stage}.calls"

    def scratch(self, stage: str) -> Path:
        """An empty folder for a stage to fill."""
        folder = self.path / f".{stage}.part"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def keep(self, stage: str, scratch: Path) -> dict[str, str]:
        """Puts a filled folder in the stage's place; returns the digests of its files."""
        place = self.of(stage)
        shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
        return self._digests(stage)

    def _digests(self, stage: str) -> dict[str, str]:
        files = sorted(path for path in self.of(stage).rglob("*") if path.is_file())
        return {path.relative_to(self.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def check(self, stage: str) -> None:
        """Refuses a stage whose files are no longer what they were."""
        before, now = self.row(stage).outputs, self._digests(stage) if self.of(stage).exists() else {}
        for path in sorted(before.keys() | now.keys()):
            if before.get(path) != now.get(path):
                how = "is gone" if path not in now else "is new" if path not in before else "has changed"
                raise Refused(f"{self.path / path}", expected=f"what stage {stage} left there",
                              found=f"a file that {how}",
                              what_to_do=f"if you mean it, --replace {stage}={self.of(stage)}; else --from {stage}")

    def replace(self, stage: str, source: Path, name: str, when: str,
                adopt: Callable[[Path], list[str]] | None = None) -> None:
        """A person's file, or folder of files, in the place of what a stage would give.

        Args:
            name: of the file in the stage's folder, where `source` is one.
            adopt: makes of the files what the stage would have left; what it had to assume goes to the notes.

        Raises:
            Refused: nothing there.
        """
        if not source.exists():
            raise Refused(f"--replace {stage}", expected="a file or folder", found=f"nothing at {source}",
                          what_to_do="check the path")
        scratch = self.path / f".{stage}.part"
        shutil.rmtree(scratch, ignore_errors=True)
        if source.is_dir():
            shutil.copytree(source, scratch)
        else:
            scratch.mkdir()
            shutil.copyfile(source, scratch / name)
        notes = [] if adopt is None else adopt(scratch)
        outputs = self.keep(stage, scratch)
        self._rows[stage] = Row(stage, provider=BY_HAND, finished_utc=when, outputs=outputs,
                                notes=[f"put there by hand from {source.name}", *notes])
        self.save()

    def forget(self, stages: Sequence[str]) -> None:
        """Stages to be done anew, their providers asked anew."""
        for stage in stages:
            self._rows[stage] = Row(stage, attempt=self.row(stage).attempt + 1)
        self.save()


