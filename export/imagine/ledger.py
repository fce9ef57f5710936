"""What was asked of providers, kept in the run's folder from before it is sent: nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.reader import Reader, parse_json

SENDING, SUBMITTED, DONE = "sending", "submitted", "done"


def digest_of(*parts: Any) -> str:
    """Of anything that JSON holds, or bytes."""
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """A file that is there as a whole or not at all, also after a power cut."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


@dataclass
class Entry:
    """One request.

    Attributes:
        state: sending (nobody knows whether it arrived), submitted (a job runs), done (the result lies here).
        answer: what the submission answered, for the addresses in it. suffix: of the result's file. sha256: of it.
        facts: cost, seconds and whatever the provider told.
    """

    path: Path
    state: str = ""
    job: str = ""
    answer: Any = None
    suffix: str = ""
    sha256: str = ""
    facts: dict[str, Any] | None = None

    def save(self) -> None:
        """Write it."""
        row = {key: value for key, value in vars(self).items() if key != "path"}
        write_whole(self.path, json.dumps(row, indent=1).encode())

    def forget(self) -> None:
        """As if it had never been asked."""
        self.path.unlink(missing_ok=True)

    @property
    def result(self) -> Path:
        """Where the result lies."""
        return self.path.with_suffix(self.suffix)

    def finish(self, data: bytes, suffix: str, facts: Mapping[str, Any]) -> bytes:
        """Keep the result; gives it back."""
        self.suffix, self.sha256, self.facts = suffix, hashlib.sha256(data).hexdigest(), dict(facts)
        write_whole(self.result, data)
        self.state = DONE
        self.save()
        return data


class Ledger:
    """The requests of one stage.

    Args:
        folder: made when it is needed.
        attempt: raised by whoever wants everything asked anew.
    """

    def __init__(self, folder: Path, attempt: int = 0) -> None:
        self.folder, self.attempt = folder, attempt
        self.used: list[Entry] = []

    def entry(self, provider: str, body: Any) -> Entry:
        """The entry of a request, new or as it was left.

        Raises:
            Refused: it was being sent when the run was killed; or its file is damaged.
        """
        path = self.folder / f"{digest_of(provider, body, self.attempt)[:32]}.json"
        entry = Entry(path)
        self.used.append(entry)
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            return entry
        reader = Reader(f"ledger {path.name}", "start the stage anew with --from")
        row = parse_json(path.read_bytes(), reader)
        reader.keys("", row, {key for key in vars(entry) if key != "path"}, {"state"})
        vars(entry).update(row)
        if entry.state == SENDING:
            raise Refused(f"a request to {provider}", expected="an answer to what was sent before the run was killed",
                          found="none: it may have arrived, and may have to be paid for",
                          what_to_do="look at the provider's own list of requests, then ask anew with --from")
        if entry.state == DONE and (
                not entry.result.exists()
                or hashlib.sha256(entry.result.read_bytes()).hexdigest() != entry.sha256):
            raise Refused(f"{entry.result.name} of {provider}", expected="the result that was received",
                          found="another file, or none", what_to_do="restore it, or ask anew with --from")
        return entry
