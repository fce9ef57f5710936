"""Changes one thing at a time in the code that has the last word, and looks whether a test notices.

    python -m tests.mutants [--jobs 2] [--quick] [--survivors] [--only PATTERN] [--least 0.85]

Goes on where an earlier run stopped (what is in `mutants/`); after a change of tests, `--survivors` tries again what
nothing had caught, and an empty `mutants/` everything.

mutmut makes the changed functions of the files that `[tool.mutmut]` of pyproject.toml names, and shows what became of
them: `mutmut browse`, `mutmut show NAME`. Its own runner begins a pytest session for each mutant, half a second before
the first test. Here one session collects once, and each mutant is a fork of it that runs the tests that reach the
changed function until one fails: first those that caught another change of that function, then those of the test file
that is named like the changed one. One that survives costs all of its tests; one that is caught, some milliseconds.
With `--quick` nothing but that test file is asked; what it lets pass, `--survivors` asks the others about.

A mutant with which a test takes ten times its processor time counts as caught. Prints how many were caught and
survived in each file, then the survivors; exit code 1 where less than `--least` of all was caught.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import gc
import importlib
import io
import os
import pickle
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mutmut.__main__ import create_file_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code

TREE = Path("mutants")
SURVIVED, CAUGHT, UNREACHED, EXHAUSTED = 0, 1, 33, 36
"""Exit codes by which mutmut knows a verdict."""
SPARE_S, SLOWER = 0.5, 10
"""Processor time that a test may take with a mutant: so much, and so many times what it takes on sound code."""


@dataclass
class Function:
    """A function of the code under test, the places that name it, and the tests that reach it, cheapest first.

    `catchers` are the tests that caught a change of it, `near` those that caught one in its file, `own` those of the
    test file that is named like its file.
    """

    sound: Callable[..., Any]
    places: list[tuple[Any, str]]
    near: Counter[int]
    own: set[int] = field(default_factory=set)
    tests: list[int] = field(default_factory=list)
    catchers: Counter[int] = field(default_factory=Counter)

    def bind(self, code: Callable[..., Any]) -> None:
        """Let every place that names this function name that code."""
        for holder, name in self.places:
            setattr(holder, name, code)

    def order(self) -> list[int]:
        """Its tests: those that have caught most of its changes, then of its file's, its own, then the cheapest."""
        reach = set(self.tests)
        likely = [test for test, _ in self.catchers.most_common() + self.near.most_common() if test in reach]
        return list(dict.fromkeys(likely + [test for test in self.tests if test in self.own] + self.tests))


def _split(mutant: str) -> tuple[str, str, str, str]:
    """Module, class ("" for a function of the module), function and the name all its versions begin with."""
    module, _, name = mutant.rpartition(".")
    stem = name.partition("__mutmut_")[0]
    if "ǁ" in stem:
        _, owner, function = stem.split("ǁ")
        return module, owner, function, stem
    return module, "", stem.removeprefix("x_"), stem


class Trial:
    """A pytest plugin that instead of the tests runs the mutants.

    Args:
        verdicts: by file, where mutmut keeps them.
        names: of the mutants to judge.
        jobs: processes at a time.
        is_quick: ask only the tests of the file named like the changed one, where there is one.
    """

    def __init__(self, verdicts: list[SourceFileMutationData], names: list[str], jobs: int, is_quick: bool) -> None:
        self._data = {name: data for data in verdicts for name in data.exit_code_by_key}
        self._names, self._jobs, self._is_quick = names, jobs, is_quick
        self._functions: dict[str, Function] = {}
        self._took: list[float] = []
        self._near: defaultdict[str, Counter[int]] = defaultdict(Counter)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise SystemExit("a test file could not be read: nothing to judge by")
        for name in self._names:
            self._functions.setdefault(name.rpartition("__mutmut_")[0], self._find(name))
        for function in self._functions.values():
            function.bind(function.sound)
        self._look_who_reaches_what(session)
        self._judge(session)
        return True

    def _find(self, mutant: str) -> Function:
        module_name, owner, function, stem = _split(mutant)
        module = sys.modules[module_name]
        holder = getattr(module, owner) if owner else module
        switch, sound = getattr(holder, function), getattr(holder, f"{stem}__mutmut_orig")
        if owner:
            return Function(sound, [(holder, function)], self._near[module_name])
        named = [(other, key) for other in list(sys.modules.values()) if isinstance(other, type(os))
                 for key, value in list(vars(other).items()) if value is switch]
        return Function(sound, named, self._near[module_name])

    def _look_who_reaches_what(self, session: pytest.Session) -> None:
        """Run every test once on sound code, in a process of its own, and keep its time and what it called."""

        def run() -> tuple[list[float], list[set[str]]]:
            reached: set[str] = set()
            for name, function in self._functions.items():
                function.bind(_noting(name, function.sound, reached))
            took, reaches = [], []
            for item in session.items:
                reached.clear()
                start = time.process_time()
                _run(session, item)
                if session.testsfailed:
                    raise SystemExit(f"fails on sound code: {item.nodeid}")
                took.append(time.process_time() - start)
                reaches.append(set(reached))
            return took, reaches

        pid, pipe = _fork(run)
        self._took, reaches = _answer(pid, pipe)
        for test in sorted(range(len(session.items)), key=self._took.__getitem__):
            stem = session.items[test].path.stem.removeprefix("test_")
            for name in reaches[test]:
                self._functions[name].tests.append(test)
                if name.split(".")[1] == stem:
                    self._functions[name].own.add(test)
        if self._is_quick:
            for function in self._functions.values():
                function.tests = [test for test in function.tests if test in function.own] or function.tests
        _say(f"{len(session.items)} tests take {sum(self._took):.1f} s")

    def _judge(self, session: pytest.Session) -> None:
        running: dict[int, tuple[str, Any]] = {}
        waiting = list(reversed(self._names))
        done, start = 0, time.monotonic()
        gc.collect()
        gc.freeze()  # forks then share what is here instead of copying it
        while waiting or running:
            while waiting and len(running) < self._jobs:
                name = waiting.pop()
                pid, pipe = self._begin(session, name)
                running[pid] = name, pipe
            pid, status = os.wait()
            name, pipe = running.pop(pid)
            self._keep(name, os.waitstatus_to_exitcode(status), pipe)
            done += 1
            if done % 50 == 0 or not waiting:
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                _say(f"{done} of {len(self._names)} mutants, {time.monotonic() - start:.0f} s, of processor time "
                     f"{used.ru_utime + used.ru_stime:.0f} s")

    def _begin(self, session: pytest.Session, name: str) -> tuple[int, Any]:
        function = self._functions[name.rpartition("__mutmut_")[0]]
        order = function.order()

        def run() -> int | None:
            module, owner, _, _ = _split(name)
            holder = getattr(sys.modules[module], owner) if owner else sys.modules[module]
            function.bind(getattr(holder, name.rpartition(".")[2]))
            for test in order:
                signal.setitimer(signal.ITIMER_PROF, SPARE_S + SLOWER * self._took[test])
                _run(session, session.items[test])
                if session.testsfailed:
                    return test
            return None

        return _fork(run)

    def _keep(self, name: str, exit_code: int, pipe: Any) -> None:
        data, function = self._data[name], self._functions[name.rpartition("__mutmut_")[0]]
        with pipe:
            answer = pipe.read()
        if not function.tests:
            verdict = UNREACHED
        elif exit_code or not answer:
            verdict = EXHAUSTED if exit_code == -signal.SIGPROF else CAUGHT
        else:
            test = pickle.loads(answer)
            verdict = SURVIVED if test is None else CAUGHT
            if test is not None:
                function.catchers[test] += 1
                function.near[test] += 1
        data.exit_code_by_key[name] = verdict
        data.save()


def _noting(name: str, code: Callable[..., Any], reached: set[str]) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        reached.add(name)
        return code(*args, **kwargs)

    return noting


def _run(session: pytest.Session, item: pytest.Item) -> None:
    session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def _fork(run: Callable[[], Any]) -> tuple[int, Any]:
    """A process that computes something, and the pipe its answer comes through; it prints nothing."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        code = 0
        try:
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(run(), pipe)
        except SystemExit as error:
            os.write(2, f"{error}\n".encode())
            code = 2
        except BaseException:
            code = 1
        os._exit(code)
    os.close(writing)
    return pid, os.fdopen(reading, "rb")


def _answer(pid: int, pipe: Any) -> Any:
    with pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("the tests do not hold on sound code")
    return pickle.loads(data)


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def make() -> list[SourceFileMutationData]:
    """The mutated package, laid where `import runtime` finds it before the sound one, and the verdicts kept there."""
    files = [Path(name) for name in config().only_mutate]
    for path in Path("runtime").rglob("*"):
        there = TREE / path
        if path.is_dir() or path.suffix == ".pyc" or path in files:
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path.read_bytes())
    for path in files:
        if not (TREE / f"{path}.meta").exists():  # an earlier run was stopped in the midst of it
            (TREE / path).unlink(missing_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            error = create_file_mutants(path).error
        if error:
            raise error
    verdicts = [SourceFileMutationData(path=path) for path in files]
    for data in verdicts:
        data.load()
    return verdicts


def report(verdicts: list[SourceFileMutationData]) -> float:
    """Prints the verdicts; the share of all mutants that a test caught."""
    total: Counter[str] = Counter()
    survivors: dict[str, list[str]] = defaultdict(list)
    for data in verdicts:
        counts = Counter(status_by_exit_code[code] for code in data.exit_code_by_key.values())
        print(f"{data.path!s:28}", ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
        total += counts
        for name, code in data.exit_code_by_key.items():
            if code not in (CAUGHT, EXHAUSTED):
                survivors[status_by_exit_code[code]].append(name)
    for status, names in survivors.items():
        print(f"\n{status}:", *names, sep="\n    ")
    share = (total["killed"] + total["timeout"]) / max(total.total(), 1)
    print(f"\n{total.total()} mutants:", ", ".join(f"{count} {status}" for status, count in sorted(total.items())),
          f"= {share:.1%} caught")
    return share


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="ask only the test file named like the changed one")
    parser.add_argument("--survivors", action="store_true", help="only those that nothing has caught yet")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="only mutants of such a name")
    parser.add_argument("--least", type=float, default=0.85, help="share to be caught (%(default)s)")
    args = parser.parse_args()
    verdicts = make()
    done = (CAUGHT, EXHAUSTED) if args.survivors else (CAUGHT, EXHAUSTED, SURVIVED, UNREACHED)
    names = [name for data in verdicts for name, code in data.exit_code_by_key.items()
             if fnmatch.fnmatch(name, args.only) and code not in done]
    sys.path.insert(0, str(TREE.absolute()))
    for path in config().only_mutate:
        importlib.import_module(path.removesuffix(".py").replace("/", "."))
    code = pytest.main([
        "-q", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no", "--tb=no",
        "--hypothesis-profile=mutants", *config().pytest_add_cli_args_test_selection,
    ], plugins=[Trial(verdicts, names, args.jobs, args.quick)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return int(code)
    return 0 if report(verdicts) >= args.least else 1


if __name__ == "__main__":
    sys.exit(main())
