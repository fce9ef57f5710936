"""Pages that a real-time process has yet to touch, made resident before it matters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import mmap, resource
from runtime.realtime import lock_pages

pages = mmap.mmap(-1, 4 << 20)
refused = lock_pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for at in range(0, len(pages), 4096):
    pages[at] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *refused)
"""


def test_a_locked_page_costs_no_fault_when_it_is_first_touched() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True,
                         cwd=Path(__file__).resolve().parents[1])
    faults, _, refused = ran.stdout.strip().partition(" ")
    assert int(faults) < 10 or refused.startswith("resident pages: "), "1,024 pages were touched"
