"""Scheduling rights, memory locking and absolute deadlines; what is not permitted is said loudly once, not hidden."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PR_SET_PDEATHSIG = 1
PARENT = "EXOACTOR_PARENT"
"""Variable of the environment in which a child finds its parent's process id."""
_CLOCK_MONOTONIC, _TIMER_ABSTIME = 1, 1
LARGE_BYTES, LARGE_CODE_BYTES, STACK_BYTES = 8_000_000, 2_000_000, 256 * 1024
"""A thread's stack of the usual 8 MiB is large, and so is the code of a mathematical library, little of which runs."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def go_real_time(priority: int, core: int | None) -> list[str]:
    """SCHED_FIFO, own core, locked memory, oom protection, one malloc arena and no garbage collector.

    Pages are locked when first touched (MCL_ONFAULT): locking them all would make every thread's whole stack resident.
    Call before threads are made, so that they inherit. Returns what was not permitted, one line each.
    """
    refused = []
    if core is not None:
        try:
            os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
        except (OSError, IndexError) as error:
            refused.append(f"own core {core}: {error}")
    if _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        refused.append(f"mlockall: {os.strerror(ctypes.get_errno())}")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        refused.append(f"SCHED_FIFO {priority}: {error}")
    return refused


def lock_pages() -> list[str]:
    """Make resident what this process may yet touch: pages that `go_real_time` only locks once they were touched.

    A page that is first touched while memory is full waits until the kernel has found some, and with it the loop. Of a
    large writable mapping, as a thread's stack is, the end is taken, where a stack begins; of large code nothing.
    Call it after set-up. Returns what was not permitted, as `go_real_time` does.
    """
    refused = set()
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        mappings = [line.split(None, 5) for line in file]
    for span, rights, *_, name in (words if len(words) == 6 else [*words, ""] for words in mappings):
        begin, end = (int(place, 16) for place in span.split("-"))
        if "r" not in rights or name.startswith("[v"):
            continue
        if "w" not in rights and end - begin > LARGE_CODE_BYTES:
            continue
        if end - begin > LARGE_BYTES:
            begin = end - STACK_BYTES
        if _libc.mlock(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin)) != 0:
            refused.add(f"resident pages: {os.strerror(ctypes.get_errno())}")
    return sorted(refused)


def may_use_fifo(priority: int) -> bool:
    """Whether SCHED_FIFO at this priority is permitted, found by trying it."""
    with contextlib.suppress(OSError), hurried(priority):
        return True
    return False


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
    """Without SCHED_FIFO for a while, for what takes long and may stall nobody else who has it; of this thread only."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    if policy != os.SCHED_FIFO:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@contextlib.contextmanager
def hurried(priority: int) -> Iterator[None]:
    """SCHED_FIFO for a short while.

    Raises:
        OSError: not permitted.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def go_first(nice: int, priority: int | None = None) -> str:
    """A nice value below that of other programs, for processes that wait for their turn; what was not permitted, or "".

    What is started afterwards inherits it.

    Args:
        priority: of SCHED_FIFO, which is asked for before.
    """
    if priority is not None:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            return ""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as error:
        return f"nice {nice}: {error}"
    return ""


def set_oom_score(adjustment: int, process: int | str = "self") -> None:
    """`oom_score_adj`: how soon the kernel kills a process for memory, -1000 never to 1000 first.

    Lowering it is not permitted to ordinary users; that is passed over.
    """
    with contextlib.suppress(OSError), open(f"/proc/{process}/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(adjustment))


def protect_from_oom() -> None:
    """Ask never to be killed for memory."""
    set_oom_score(-1000)


def freeze_garbage(*, at_once: bool = False) -> None:
    """After set-up: no collection from here on, what exists is left alone.

    Args:
        at_once: without a last collection, which takes 30 to 60 ms.
    """
    if not at_once:
        gc.collect()
    gc.freeze()
    gc.disable()


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send `number` when the parent is gone; if it went before, and said in PARENT who it was, now.

    Whose child one is then depends on the machine, and in a container the parent itself may be process 1.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.environ.pop(PARENT, str(os.getppid())) != str(os.getppid()):
        os.kill(os.getpid(), number)


def sleep_until(deadline_ns: int) -> None:
    """Sleep to an absolute monotonic time; a signal handler may run meanwhile and does not shorten the sleep.

    `time.sleep` is relative before Python 3.11, hence `clock_nanosleep` there.
    """
    if sys.version_info >= (3, 11):
        left = deadline_ns - time.monotonic_ns()
        if left > 0:
            time.sleep(left * 1e-9)
        return
    moment = _Timespec(deadline_ns // 1_000_000_000, deadline_ns % 1_000_000_000)
    while _libc.clock_nanosleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, ctypes.byref(moment), None) != 0:
        if time.monotonic_ns() >= deadline_ns:
            return


class Metronome:
    """Absolute deadlines; after an overrun the next is counted from now, without catching up.

    Attributes:
        late_ns: how late the last `wait` returned.
        skipped: deadlines passed over so far.
    """

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._deadline_ns = time.monotonic_ns() + period_ns
        self.late_ns = 0
        self.skipped = 0

    @property
    def deadline_ns(self) -> int:
        """When `wait` will return."""
        return self._deadline_ns

    def wait(self) -> int:
        """Sleep to the next deadline; returns the time."""
        sleep_until(self._deadline_ns)
        now = time.monotonic_ns()
        self.late_ns = now - self._deadline_ns
        if self.late_ns > self._period_ns:
            self.skipped += self.late_ns // self._period_ns
            self._deadline_ns = now
        self._deadline_ns += self._period_ns
        return now
