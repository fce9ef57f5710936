"""One stage after the other: kept where nothing that decides it has changed, done where something has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from export.imagine.ledger import Ledger, digest_of
from export.imagine.run_folder import BY_HAND, Row, RunFolder
from runtime.errors import Refused


@dataclass
class Work:
    """What a stage has in its hands.

    Attributes:
        run: the folder, to read earlier stages from. out: where its files go. ledger: its requests.
        notes, facts: for the manifest.
    """

    run: RunFolder
    out: Path
    ledger: Ledger
    seed: int
    say: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """One step from a task to a motion.

    Attributes:
        name: of its folder. needs: earlier stages whose files it reads.
        file: what a single file put there by hand is called.
        provider, version: who does it, for the manifest; what another version made is made anew.
    """

    name: str
    needs: tuple[str, ...]
    file: str
    provider: str
    version: str

    def settings(self) -> Any:
        """All that decides its result besides its inputs and the seed, as JSON."""
        ...

    def check(self, folder: Path) -> None:
        """Refuses files that the next stages cannot use: its own, or a person's."""
        ...

    def work(self, work: Work) -> None:
        """Do it; refuses what cannot be done."""
        ...


class StageFailed(Refused):
    """A stage did not come to its end; everything before it is kept."""


def carry_out(run: RunFolder, stages: Sequence[Stage], say: Callable[[str], None], stop_after: str = "") -> None:
    """Every stage that is not done yet, in order.

    Raises:
        StageFailed: what it got, and how to go on.
        Refused: files that are not what a stage left.
    """
    for i, stage in enumerate(stages):
        row, title = run.row(stage.name), f"{i + 1}/{len(stages)} {stage.name}"
        key = _key(run, stage)
        if row.is_done and (row.provider == BY_HAND or row.key == key):
            run.check(stage.name)
            stage.check(run.of(stage.name))
            say(f"{title}: kept ({row.provider})")
        else:
            say(f"{title}: {stage.provider}")
            _do(run, stage, key, say)
            say(f"{title}: done, {run.row(stage.name).seconds:.1f} s")
        if stage.name == stop_after:
            return


def _key(run: RunFolder, stage: Stage) -> str:
    return digest_of(run.request, stage.version, stage.settings(), run.files(stage.needs), run.row(stage.name).attempt)


def _do(run: RunFolder, stage: Stage, key: str, say: Callable[[str], None]) -> None:
    before = run.row(stage.name)
    out = run.scratch(stage.name)
    work = Work(run, out, Ledger(run.calls(stage.name), before.attempt), int(run.request.get("seed", 0)), say)
    row = Row(stage.name, key, stage.provider, stage.version, work.seed, attempt=before.attempt,
              inputs=run.files(stage.needs))
    begun = time.monotonic()
    try:
        stage.work(work)
        stage.check(out)
    except Refused as error:
        row.error = str(error)
        vars(before).update(vars(row))
        run.save()
        raise StageFailed(f"stage {stage.name}", expected=error.expected, found=f"{error.what}: {error.found}",
                          what_to_do=f"{error.what_to_do}. Earlier stages are kept: go on with `exoactor imagine "
                                     f"--out {run.path}`, or put its files there with --replace {stage.name}=PATH"
                          ) from error
    row.seconds = round(time.monotonic() - begun, 3)
    row.outputs = run.keep(stage.name, out)
    row.finished_utc = now_utc()
    row.cost_usd = round(sum(float((entry.facts or {}).get("cost_usd", 0.0)) for entry in work.ledger.used), 4)
    row.notes, row.facts = work.notes, work.facts
    vars(before).update(vars(row))
    run.save()


def now_utc() -> str:
    """This moment, as manifests write it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
