"""What a run is starved of, bounded so that the machine survives: memory in a cgroup, a disk of a few MiB, a cable.

All of it needs root: an OSError says what is not permitted.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
SPARE_BYTES = 192 << 20
"""Memory that a run may still take once it is fenced in: the hog's."""
DISK_MIB = 2300
HOG = (
    "import sys, time\nheld = []\nsys.stdin.readline()\n"
    "while True:\n held.append(bytearray(b'x') * (4 << 20))\n time.sleep(0.002)\n"
)


class MemoryFence:
    """A memory cgroup of its own for one run, version 1 or 2.

    Raises:
        OSError: no right to make one, or no memory controller.
    """

    def __init__(self, name: str) -> None:
        first = (CGROUPS / "memory" / "memory.limit_in_bytes").exists()
        self._folder = (CGROUPS / "memory" if first else CGROUPS) / name
        self._limit = "memory.limit_in_bytes" if first else "memory.max"
        self._usage = "memory.usage_in_bytes" if first else "memory.current"
        self._folder.mkdir()
        if not (self._folder / self._limit).exists():
            self._folder.rmdir()
            raise OSError("no memory controller in this cgroup")
        self._hog: subprocess.Popen[bytes] | None = None

    @property
    def prefix(self) -> list[str]:
        """Words that start a command inside the fence."""
        return ["sh", "-c", f'echo $$ > {self._folder}/cgroup.procs && exec "$0" "$@"']

    def starve(self, victim: int) -> int:
        """Fill the fence until the kernel kills the victim; returns when it died, monotonic ns.

        The victim's score is raised so that the kernel chooses it and not the hog: on a robot it is the largest.
        """
        usage = int((self._folder / self._usage).read_text(encoding="ascii"))
        (self._folder / self._limit).write_text(f"{usage + SPARE_BYTES}", encoding="ascii")
        Path(f"/proc/{victim}/oom_score_adj").write_text("1000", encoding="ascii")
        self._hog = subprocess.Popen([*self.prefix, sys.executable, "-c", HOG], stdin=subprocess.PIPE)
        with contextlib.closing(_PidFile(victim)) as pid:
            assert self._hog.stdin is not None
            self._hog.stdin.write(b"go\n")
            self._hog.stdin.flush()
            died_ns = pid.wait(20.0)
        self._hog.kill()
        self._hog.wait()
        return died_ns

    def close(self) -> None:
        """Remove it; what still runs in it is killed."""
        if self._hog is not None and self._hog.poll() is None:
            self._hog.kill()
            self._hog.wait()
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            for pid in (self._folder / "cgroup.procs").read_text(encoding="ascii").split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), 9)
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.05)


class _PidFile:
    """A process whose end can be waited for without being its parent."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)

    def wait(self, timeout_s: float) -> int:
        if not select.select([self._handle], [], [], timeout_s)[0]:
            raise TimeoutError("the kernel killed nobody")
        return time.monotonic_ns()

    def close(self) -> None:
        os.close(self._handle)


class SmallDisk:
    """A file system in memory, as small as a run still begins on.

    Raises:
        OSError: no right to mount.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        _run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "exoactor-campaign", str(folder))

    def fill(self) -> None:
        """Until nothing more fits."""
        block = bytes(1 << 16)
        with (self.folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(block):
                pass

    def close(self) -> None:
        """Unmount."""
        _run("umount", "-l", str(self.folder))


class Cable:
    """Two network namespaces with a cable between them: the robot's end and ours.

    Raises:
        OSError: no right, no `ip`, or no virtual cables in this kernel.
    """

    def __init__(self, name: str) -> None:
        if shutil.which("ip") is None:
            raise OSError("no `ip` (iproute2)")
        self.robot, self.ours = f"{name}-robot", f"{name}-ours"
        self.interface = "cable"
        try:
            for number, space in enumerate((self.robot, self.ours), 1):
                _run("ip", "netns", "add", space)
                _run("ip", "-n", space, "link", "set", "lo", "up")
                if number == 1:
                    _run("ip", "-n", space, "link", "add", self.interface, "type", "veth", "peer", "name", "other")
                else:
                    _run("ip", "-n", self.robot, "link", "set", "other", "netns", space)
                    _run("ip", "-n", space, "link", "set", "other", "name", self.interface)
                _run("ip", "-n", space, "addr", "add", f"10.97.0.{number}/24", "dev", self.interface)
                _run("ip", "-n", space, "link", "set", self.interface, "up", "multicast", "on")
        except OSError:
            self.close()
            raise

    def inside(self, space: str) -> list[str]:
        """Words that start a command in a namespace."""
        return ["ip", "netns", "exec", space]

    def pull(self) -> int:
        """Take the carrier away at the robot's end; returns when, monotonic ns."""
        moment = time.monotonic_ns()
        _run("ip", "-n", self.robot, "link", "set", self.interface, "down")
        return moment

    def close(self) -> None:
        """Remove both namespaces."""
        for space in (self.robot, self.ours):
            with contextlib.suppress(OSError):
                _run("ip", "netns", "del", space)


def _run(*words: str) -> None:
    """A system command; OSError says what it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
