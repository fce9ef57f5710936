"""One target under atheris: `python -m tests.fuzz.guided NAME CORPUS [libFuzzer options]`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["runtime", "firmware_bridge"]):
    from tests.fuzz.targets import feed, seeds


def main() -> None:
    name, corpus = sys.argv[1], Path(sys.argv[2])
    for i, data in enumerate(seeds(name)):
        (corpus / f"seed-{i}").write_bytes(data)
    atheris.Setup([sys.argv[0], str(corpus), *sys.argv[3:]], lambda data: feed(name, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
