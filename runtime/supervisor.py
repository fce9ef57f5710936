"""A run over DDS: starts the processes, asks and reports, restarts nothing that moves.

The supervisor is the operator's hand, not the robot's: it can only ask the gate (arm, track, damp). When it dies, the
kernel tells the gate, which damps. When the gate dies, a new one is brought up damping.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from runtime.alarms import RunWatch
from runtime.child import SPARE, Child
from runtime.console import Console
from runtime.driver import Driver, Seen
from runtime.errors import Refused
from runtime.faults import FAULTS, Mode, Request, flag_names
from runtime.mux import Source
from runtime.operator_view import OperatorView
from runtime.pilot import Phase
from runtime.realtime import go_first, set_oom_score
from runtime.records import CONTROL_DTYPE, GATE_RING, gate_log_dtype, status_dtype, target_dtype
from runtime.service import Service
from runtime.settings import GATE_HZ, RunSettings
from runtime.slots import Ring, Slot

SHARED_ROOT = Path("/dev/shm")
POLL_S = 0.005
NICE = -15
"""A dead gate is replaced by whoever notices: on a machine with a load of 12 that took up to 1.2 s without."""
GATE_RESTARTS = 3
READY_TIMEOUT_S, DRIVER_TIMEOUT_S = 30.0, 60.0
STOPS_TIMEOUT_S, STOPS_GRACE_S = 60.0, 1.0
"""For a person to switch on every stop that the run was told of; it is said what is waited for after the second."""
OPERATOR_END_S = 1.0
DIED = {"operator": "operator's process died: nobody heard the stops", "stream": "stream's process died"}
CHILD_END_S = 8.0
ARM_TIMEOUT_S = 3.0
GATE_STUCK_NS = 300_000_000
OOM_SCORES = {"output": 600, "telemetry": 500, "stream": 500, "operator": 500, "policy": 300, "conductor": 300}
"""What the kernel may kill for memory first: the log before the policy, both before this process; the gate never."""


class Supervisor:
    """One run.

    Args:
        settings: what to do; `run` and `shared` are filled in here.
        driver: makes the targets.
        sim_arguments: command line of the simulated robot for target "sim".

    Attributes:
        notes: what the report should say besides the log (warnings, restarts, errors).
    """

    def __init__(self, settings: RunSettings, driver: Driver, sim_arguments: list[str]) -> None:
        self.out = Path(settings.out)
        _sweep()
        run = secrets.randbits(62) | 1
        self._shared = SHARED_ROOT / f"exoactor-{os.getpid()}-{run:x}"
        self._shared.mkdir(mode=0o700)
        self.settings = replace(settings, run=run, shared=str(self._shared))
        self._driver, self._robot, self._sim_arguments = driver, driver.robot, sim_arguments
        motors = driver.robot.motors
        self._status = Slot(self._shared / "status", status_dtype(motors), run, create=True)
        self._target = Slot(self._shared / "target", target_dtype(motors), run, create=True)
        self._control = Slot(self._shared / "control", CONTROL_DTYPE, run, create=True)
        Ring(self._shared / "gate_ring", gate_log_dtype(motors), run, GATE_RING, create=True)
        self._operator: OperatorView | None = None
        if self.settings.has_operator:
            self._operator = OperatorView(self._shared, run, self.settings.operator, len(driver.robot.joints))
        self.children: dict[str, Child] = {}
        driver.share(self.settings, self.children)
        self._spare: Child | None = None
        self.notes: dict[str, Any] = {"warnings": [], "errors": [], "gate_restarts": 0, "alarms": []}
        rates_hz = {"gate": float(GATE_HZ), driver.name: settings.rate_hz}
        self._run_watch = RunWatch(driver.robot.limits, self.out / settings.log, rates_hz)
        self._service = Service()
        self._stop = False
        self._asked = Request.NONE
        self._asked_at = 0.0
        self._gate_ready_ns = 0
        self._console = Console()
        self._is_terminal = sys.stderr.isatty()

    def run(self) -> None:
        """The whole run; on every way out the robot is damped before the processes end.

        Raises:
            Refused: anything that does not fit, before the robot is armed.
        """
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._start()
            if self.settings.real_time and (lacking := go_first(NICE)):
                self._warn(f"supervisor without {lacking}")
            self._run_watch.begin()
            self._service.tell("READY=1")
            if not self._stop:
                self._confirm()
                self._await_stops()
                self._ask(Request.ARM)
                self._watch()
        finally:
            self._end()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def _warn(self, line: str) -> None:
        self.notes["warnings"].append(line)
        print(f"WARNING: {line}", file=sys.stderr)

    def _spawn(self, name: str, arguments: list[str]) -> dict[str, Any]:
        waits = name in self._driver.told
        self.children[name] = Child(name, arguments, self.out / f"{name}.err", waits=waits)
        if name in OOM_SCORES:
            set_oom_score(OOM_SCORES[name], self.children[name].pid)
        return self._await_ready(name)

    def _await_ready(self, name: str) -> dict[str, Any]:
        timeout_s = DRIVER_TIMEOUT_S if name == self._driver.name else READY_TIMEOUT_S
        ready = self.children[name].await_ready(timeout_s, self._warn)
        self._gate_ready_ns = time.monotonic_ns()
        self._write_processes()
        return ready

    def _stage(self, module: str, settings: RunSettings) -> list[str]:
        return ["-m", f"runtime.{module}", self._save(module, settings)]

    def _save(self, name: str, settings: RunSettings) -> str:
        path = self._shared / f"{name}.json"
        settings.save(path)
        return str(path)

    def _start(self) -> None:
        settings = self.settings
        if settings.target == "sim":
            self._spawn("sim", ["-m", *self._driver.robot_module, "--follow", str(os.getpid()), *self._sim_arguments])
        module = ["-m", self._driver.module, self._save("driver", settings)]
        ready = self._spawn(self._driver.name, module)
        self.settings = settings = self._driver.started(settings, ready, self.notes)
        self._spawn("telemetry", self._stage("telemetry", settings))
        if settings.is_streamed:
            self._spawn("stream", self._stage("chain_process" if settings.follow else "stream_process", settings))
        if settings.stream_out is not None:
            self._spawn("output", self._stage("output_process", settings))
        if self._operator is not None:
            self._spawn("operator", self._stage("operator_process", settings))
        ready = self._spawn("gate", self._stage("gate_process", settings))
        self.settings = replace(settings, mode_machine=ready["mode_machine"])
        damping = replace(self.settings, damping=True)
        self._spare = Child("gate", [*self._stage("gate_process", damping), SPARE], self.out / "gate.err", waits=True)

    def _write_processes(self) -> None:
        path = self.out / "processes.json"
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps({name: child.pid for name, child in self.children.items()}), encoding="utf-8")
        fresh.replace(path)

    def _confirm(self) -> None:
        if not self.settings.moves_a_robot:
            return
        self._console.say(self._driver.confirmation(self.settings))
        line = None
        while line is None and not self._stop and not self._console.is_closed:
            self._service.beat()
            line = self._console.line(0.05)
        if line != "MOVE":
            raise Refused("confirmation", expected="MOVE", found=repr(line or "nothing"),
                          what_to_do="type MOVE in a terminal when the robot may move")

    def _await_stops(self) -> None:
        """Every emergency-stop source has to be alive and released before anything is armed, a dead-man to be held."""
        if self._operator is not None:
            if self.settings.terminal is not None:
                self._console.lend()
            self._ask(Request.NONE)  # the operator's process takes the terminal from here on
        began, said = time.monotonic(), ""
        while (up := self._awaited()) and not self._stop:
            self._service.beat()
            waited_s = time.monotonic() - began
            if waited_s > STOPS_GRACE_S and up != said:
                said = up
                self._console.say(f"waiting for {said}")
            self._hear()
            operator = self.children.get("operator")
            if waited_s > STOPS_TIMEOUT_S or (operator is not None and not operator.is_alive()):
                raise Refused("emergency stops", expected="every source alive and released", found=up,
                              what_to_do="switch it on or release it; see docs/teleop.md")
            time.sleep(POLL_S)

    def _awaited(self) -> str:
        """What nothing is armed without, in words; empty when it is all there."""
        up = self._operator.up() if self._operator is not None else []
        stops = f"emergency stops: {', '.join(up)}" if up else ""
        return "; ".join(filter(None, (stops, self._driver.awaited())))

    def _ask(self, request: Request, silence_ms: int = 0) -> None:
        if not silence_ms:
            self._asked, self._asked_at = request, time.monotonic()
        record = self._control.record
        record["silence_ms"] = silence_ms
        record["sequence"] += 1
        record["request"] = request
        self._control.publish()

    def _watch(self) -> None:
        while True:
            time.sleep(POLL_S)
            self._service.beat()
            self._hear()
            gate = self.children["gate"]
            self._end_a_stuck_gate(gate)
            if not gate.is_alive() and not self._revive_gate():
                return
            if self._stop:
                gate.process.send_signal(signal.SIGINT)
                self._stop = False
                self._asked = Request.DAMP
            self._status.read()
            self._target.read()
            mode = Mode(int(self._status.record["mode"][0]))
            phase = Phase(int(self._target.record["phase"][0]))
            self._look_for_alarms(mode)
            self._check_armed(mode)
            self._show(mode, phase)
            if mode >= Mode.DAMP:
                self._let_go()
                return
            if phase is Phase.FINISHED and self._asked is not Request.DAMP:
                self._ask(Request.DAMP)
            self._note_the_dead()
            request = self._driver.look(self._seen(mode, phase))
            if request is not Request.NONE:
                self._ask(request)
            elif silence_ms := self._driver.silence_ms():
                self._ask(Request.NONE, silence_ms)

    def _seen(self, mode: Mode, phase: Phase) -> Seen:
        gesture = self._operator is not None and self._operator.gesture()
        source = Source(int(self._target.record["source"][0]))
        return Seen(mode, phase, source, self._asked, gesture, self._console)

    def _note_the_dead(self) -> None:
        """Processes whose death stops nothing at once, but makes a run no good one."""
        for name, what in DIED.items():
            if name in self.children and not self.children[name].is_alive() and what not in self.notes["errors"]:
                self.notes["errors"].append(what)

    def _look_for_alarms(self, mode: Mode) -> None:
        pids = {name: child.pid for name, child in self.children.items() if child.is_alive()}
        ticks = {"gate": self._status.count, self._driver.name: self._target.count}
        for alarm in self._run_watch.look(pids, ticks, mode):
            self.notes["alarms"].append(alarm.as_dict())
            self._warn(str(alarm))

    def _check_armed(self, mode: Mode) -> None:
        if mode is not Mode.DISARMED or time.monotonic() - self._asked_at < ARM_TIMEOUT_S:
            return
        flags = int(self._status.record["flags"][0])
        raise Refused(
            "arming", expected="a healthy robot state", found=", ".join(flag_names(flags)) or "no answer of the gate",
            what_to_do="see docs/safety.md for what each flag means; mend it and start again",
        )

    def _hear(self) -> None:
        for name, child in self.children.items():
            while not child.events.empty():
                event = child.events.get()
                if event["event"] == "error":
                    self.notes["errors"].append(f"{name}: {event['message']}")
                elif event["event"] == "warning":
                    self._warn(str(event["message"]))
                elif event["event"] == "buses":
                    self.notes["buses"] = event["ports"]
                else:
                    self._driver.hear(event)

    def _end_a_stuck_gate(self, gate: Child) -> None:
        """A gate that is stopped or hangs commands nothing: kill it, so that a damping one can take over."""
        self._status.read()
        beat_ns = max(int(self._status.record["now_ns"][0]), self._gate_ready_ns)
        if gate.is_alive() and time.monotonic_ns() - beat_ns > GATE_STUCK_NS:
            self.notes["errors"].append("gate stuck: killed")
            gate.process.kill()
            gate.process.wait()

    def _revive_gate(self) -> bool:
        """Bring up a damping gate in place of a dead one; False when the old one ended by itself."""
        gate = self.children["gate"]
        self._status.read()
        if int(self._status.record["mode"][0]) == Mode.DISARMED:
            self.notes["errors"].append(f"gate died unarmed (exit {gate.process.returncode})")
            return False
        if gate.process.returncode in (0, 1) or self.notes["gate_restarts"] >= GATE_RESTARTS:
            return False
        self.notes["gate_restarts"] += 1
        self.notes["errors"].append(f"gate died (exit {gate.process.returncode}); a damping one took over")
        spare, self._spare = self._spare, None
        if spare is not None and spare.is_alive():
            spare.call()
            self.children["gate"] = spare
            self._await_ready("gate")
        else:
            self._spawn("gate", self._stage("gate_process", replace(self.settings, damping=True)))
        return True

    def _let_go(self) -> None:
        """Damped: keep damping for the robot's minimum time, and on a real robot until the operator says so."""
        self._take_the_terminal_back()
        if self.settings.moves_a_robot:
            cause = int(self._status.record["cause"][0])
            why = FAULTS[cause].meaning if cause >= 0 else "the run is over"
            self._console.say(f"\nDAMPING ({why}). Secure the robot, then press Enter to release it.")
            while self.children["gate"].is_alive() and not self._stop and self._console.line(0.05) is None:
                self._service.beat()
                self._hear()
        self._ask(Request.ZERO)
        end = time.monotonic() + self._robot.limits.damp_min_s + CHILD_END_S
        while time.monotonic() < end:
            time.sleep(POLL_S)
            self._service.beat()
            if not self.children["gate"].is_alive() and not self._revive_gate():
                return
            if self.children["gate"].is_alive() and self.notes["gate_restarts"]:
                self._ask(Request.ZERO)

    def _take_the_terminal_back(self) -> None:
        """Damping needs no operator's process: its end, too, could only damp."""
        if self.settings.terminal is not None and "operator" in self.children:
            self.children["operator"].end(OPERATOR_END_S)
        self._console.take_back()

    def _end(self) -> None:
        self._service.tell("STOPPING=1")
        if self._spare is not None:
            self._spare.end(CHILD_END_S)
        for name in ("gate", "operator", "stream", "output", self._driver.name, "sim", "telemetry"):
            if name in self.children:
                self.children[name].end(CHILD_END_S)
        self._console.take_back()
        self._hear()
        self._driver.end(self.notes)
        self._note_a_cut_log()
        if self._is_terminal:
            print(file=sys.stderr)
        (self.out / "processes.json").unlink(missing_ok=True)
        for name in self.children:
            errors = self.out / f"{name}.err"
            if errors.exists() and errors.stat().st_size == 0:
                errors.unlink()
        shutil.rmtree(self._shared, ignore_errors=True)

    def _note_a_cut_log(self) -> None:
        """A log that ends early must not make a run look better than it was."""
        telemetry, gate = self.children.get("telemetry"), self.children.get("gate")
        if telemetry is None or gate is None or telemetry.process.returncode in (0, 2):
            return
        self._warn(f"telemetry died (exit {telemetry.process.returncode}): the log is incomplete")
        if gate.process.returncode != 0:
            self._status.read()
            cause = int(self._status.record["cause"][0])
            why = f" ({FAULTS[cause].flag})" if cause >= 0 else ""
            self.notes["errors"].append(f"the gate ended in a fault{why}; the log may not show it")

    def _show(self, mode: Mode, phase: Phase) -> None:
        if not self._is_terminal:
            return
        age_ms = (time.monotonic_ns() - int(self._status.record["now_ns"][0])) / 1e6
        operator = f"{self._operator.describe():<40}" if self._operator is not None else ""
        print(f"\r{self._driver.line(mode, phase)}  gate {age_ms:4.1f} ms ago  {operator}", end="", file=sys.stderr)


def _sweep() -> None:
    """Remove shared memory of runs whose supervisor is gone."""
    for folder in SHARED_ROOT.glob("exoactor-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
