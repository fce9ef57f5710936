"""Long fuzzing of one target or all.

    python -m tests.fuzz [NAME ...] [--seconds 60] [--keep]

With atheris installed (it instruments the project's own modules) it is guided by coverage; without it, seeded mutants
of the corpus are tried. A finding ends the run with exit code 1 and leaves the bytes in `crash-NAME`. With --keep,
inputs that reached new code are added to the corpus.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.mutate import mutants

MOST_BYTES, MOST_KEPT = 4096, 12
"""Inputs kept in the repository: small, and few of each target."""


def guided(name: str, seconds: float, keep: bool) -> int:
    """One target under atheris, in a process of its own: libFuzzer ends its process."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        words = [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), f"-max_total_time={round(seconds)}",
                 "-rss_limit_mb=2048", "-timeout=20", f"-artifact_prefix=crash-{name}-", "-verbosity=0",
                 "-print_final_stats=1"]
        code = subprocess.run(words, check=False).returncode
        if keep and code == 0:
            _keep(name, corpus)
    return code


def _keep(name: str, corpus: Path) -> None:
    from tests.fuzz.targets import CORPUS, seeds

    known = set(seeds(name))
    fresh = [data for path in sorted(corpus.glob("*")) if (data := path.read_bytes()) not in known]
    fresh = sorted((data for data in fresh if len(data) <= MOST_BYTES), key=len)
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    step = max(1, len(fresh) // MOST_KEPT)
    for i, data in enumerate(fresh[::step][:MOST_KEPT]):
        (folder / f"{i:02d}").write_bytes(data)


def plain(name: str, seconds: float) -> int:
    """Mutants of the corpus, for a time."""
    from tests.fuzz.targets import feed, seeds

    end, count, taken = time.monotonic() + seconds, 0, 0
    for data in mutants(seeds(name), seed=time.monotonic_ns()):
        if time.monotonic() > end:
            break
        try:
            taken += feed(name, data)
        except Exception:
            Path(f"crash-{name}").write_bytes(data)
            raise
        count += 1
    print(f"{name}: {count} inputs, {taken} taken, {count - taken} refused")
    return 0


def main() -> int:
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each")
    parser.add_argument("--keep", action="store_true", help="add what reached new code to the corpus")
    args = parser.parse_args()
    unknown = set(args.names) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    try:
        import atheris  # noqa: F401

        has_atheris = True
    except ImportError:
        has_atheris = False
    code = 0
    for name in args.names or TARGETS:
        code |= guided(name, args.seconds, args.keep) if has_atheris else plain(name, args.seconds)
    return 1 if code else 0


if __name__ == "__main__":
    sys.exit(main())
