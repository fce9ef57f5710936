"""The policy stage: state in, target out, with everything the log wants to know about the tick."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from runtime.admission import Admitted, admit, check_golden
from runtime.backend import open_model
from runtime.bundle import MANIFEST
from runtime.chain import load_motion
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.estimator_terms import ESTIMATE
from runtime.faults import Mode
from runtime.hand import load_hand
from runtime.hand_orders import HandOrders
from runtime.hand_track import HandTrack
from runtime.helm import Helm
from runtime.manifest import Manifest
from runtime.model_metadata import adopt_metadata
from runtime.model_reference import ModelReference, refuse_other_motion
from runtime.needs import ROOT_VELOCITIES, check_clip_feeds, follows_velocities, mode_of, stream_needs
from runtime.pilot import Pilot
from runtime.planner_command import PlannerCommand
from runtime.records import STREAM_DTYPE, policy_log_dtype, target_dtype
from runtime.reference import ClipReference, ReferenceSource
from runtime.root_feedback import RootFeedback
from runtime.settings import RunSettings
from runtime.state import RobotState
from runtime.steered import find_steered
from runtime.stream_reference import StreamReference

if TYPE_CHECKING:
    from runtime.estimator import Estimator

WARM_UP_TICKS = 50


class Policy:
    """Controllers, pilot and helm of one run, with their records.

    Raises:
        Refused: anything about manifest, model, clip or command that does not fit.

    Attributes:
        backend: what the network runs on; `backend_note` also says what was not to be had.
        target: (1,) `target_dtype`, what the gate reads.
        log: (1,) `policy_log_dtype`.
        planner: makes velocities of a stream's planner messages, None where nothing takes any.
        heard: (1,) `STREAM_DTYPE`, the stream's newest record; kept up to date by the caller where there is a planner.
        stream: where streamed frames go (`take`), None where nothing can follow any.
        hands: what hands are told, None in a run without.
    """

    def __init__(self, settings: RunSettings) -> None:
        admitted = admit(settings.controller, target=settings.target, allow_unsigned=settings.allow_unsigned)
        mode = mode_of(admitted.manifest, settings.mode)
        source, play_s = _motion(admitted.manifest, settings)
        if settings.estimator is not None:
            admitted = replace(admitted, manifest=replace(admitted.manifest, estimator=settings.estimator))
        notes: list[str] = []
        self.controller = open_admitted(admitted, settings.model, settings.backend, notes.append)
        self.controller.set_mode(mode)
        self.backend = "+".join(sorted({network.model.backend for network in self.controller.networks}))
        self.backend_note = "; ".join(notes)
        self.manifest = manifest = self.controller.manifest
        self._open_steered(settings)
        keeps_place = _keeps_place(manifest, settings)
        self._open_estimator(manifest, settings, is_needed=keeps_place)
        if manifest.embedded is not None:
            source = inside = ModelReference(self.controller, manifest.embedded)
            play_s = min(play_s, inside.play_s)
        has_operator = settings.teleop is not None
        is_streamed = settings.is_streamed and manifest.kind == "tracker"
        self.planner: PlannerCommand | None = None
        if settings.stream is not None and not is_streamed:
            self.planner = PlannerCommand(manifest.command_ranges or (), 1 / manifest.rate_hz)
        self.heard = np.zeros(1, STREAM_DTYPE)
        self.pilot = Pilot(self.controller, source, play_s, settings.command, has_operator=has_operator,
                           waits=is_streamed, feedback=self._feedback() if keeps_place else None)
        self.stream: StreamReference | None = None
        is_plain = manifest.embedded is None and not self.controller.window.now.channels
        if is_streamed:
            channels, ahead_s = stream_needs(manifest, mode, has_hands=settings.hands is not None)
            self.stream = StreamReference(manifest.robot, manifest.order, manifest.robot.limits, channels, ahead_s)
        elif has_operator and manifest.kind == "tracker" and is_plain:
            self.stream = StreamReference(manifest.robot, manifest.order, manifest.robot.limits)
        self.helm = Helm(self.pilot, self.controller, manifest.robot.limits, steered=self._steered, stream=self.stream,
                         is_streamed=is_streamed)
        self.hands: HandOrders | None = None
        if settings.hands is not None:
            track = HandTrack(source.clip) if isinstance(source, ClipReference) else None
            self.hands = HandOrders(load_hand(settings.hands), self.pilot, self.helm, track, self.stream)
        motors, joints = manifest.robot.motors, len(manifest.order)
        self.target = np.zeros(1, target_dtype(motors))
        observation = sum(entry.values.size for entry, _, _ in self.controller.observations)
        self.log = np.zeros(1, policy_log_dtype(motors, joints, observation, self.estimate_size,
                                                has_stream=settings.is_streamed))
        self._view = {name: self.log[name][0] for name in self.log.dtype.names or ()
                      if self.log.dtype[name].shape}
        self._block = self.target["block"][0]
        self._observation = self._view["observation"]
        self._logs_stream = settings.is_streamed
        self._warm_up()

    def _feedback(self) -> RootFeedback:
        assert self.estimator is not None
        return RootFeedback(1 / self.manifest.rate_hz, self.estimator.values[:3])

    def _open_estimator(self, manifest: Manifest, settings: RunSettings, *, is_needed: bool) -> None:
        """The estimator that manifest or command line name, or the usual one where something needs it; without one
        nothing is imported and nothing runs.
        """
        self.estimator: Estimator | None = None
        self._estimates = [controller.inputs.own[ESTIMATE] for controller in (self.controller, self._steered)
                           if controller is not None and ESTIMATE in controller.inputs.own]
        if manifest.estimator is not None or is_needed:
            from runtime.calibration_file import feet_of
            from runtime.estimator import CLASSICAL, open_estimator

            self.estimator, warnings = open_estimator(
                manifest.estimator or CLASSICAL, manifest.robot, manifest.rate_hz,
                allow_unsigned=settings.allow_unsigned,
                feet=feet_of(settings.calibration, manifest.robot, settings.serial),
            )
            self.warnings += warnings
        elif self._estimates:
            raise Refused("--teleop-controller", expected="an estimator in the run", found="none",
                          what_to_do="the controller to steer reads one: choose it with --estimator")
        self.estimate_size = 0 if self.estimator is None else self.estimator.values.size

    def _open_steered(self, settings: RunSettings) -> None:
        """What an operator steers: the run's own controller where that takes commands, else one beside it."""
        self.warnings: tuple[str, ...] = ()
        self._steered: Controller | None = None
        admitted, note = find_steered(settings, self.manifest)
        self.warnings += (note,) if note else ()
        if admitted is not None:
            if settings.estimator is not None:
                admitted = replace(admitted, manifest=replace(admitted.manifest, estimator=settings.estimator))
            self._steered = open_admitted(admitted, settings.teleop_model, settings.backend)
        elif settings.teleop and settings.teleop_controller is None and self.manifest.kind == "velocity":
            self._steered = self.controller

    def _warm_up(self) -> None:
        state = RobotState(self.manifest.robot.motors)
        for _ in range(WARM_UP_TICKS):
            self.controller.tick(state)
            if self._steered is not None and self._steered is not self.controller:
                self._steered.tick(state)
            if self.estimator is not None:
                self.estimator.update(state)
        self.controller.reset()
        if self._steered is not None:
            self._steered.reset()
        if self.estimator is not None:
            self.estimator.reset()

    def tick(self, mode: Mode, state: RobotState, now_ns: int) -> None:
        """One control period at `now_ns`. The estimator runs in every mode: it knows the robot before it moves."""
        if self.estimator is not None and state.sequence:
            self.estimator.update(state)
            for place in self._estimates:
                place[:] = self.estimator.values
        if self.planner is not None:
            self.pilot.command[:] = self.planner.tick(self.heard[0], state.quat_wxyz, now_ns)
        self._block[:] = self.helm.tick(mode, state, now_ns)
        target = self.target
        target["flags"], target["source"] = self.helm.flags, self.helm.source
        if self.hands is not None:
            self.hands.tick(now_ns)
        target["made_ns"], target["state_ns"], target["phase"] = now_ns, state.received_ns, self.pilot.phase
        target["sequence"] += 1

    def write_log(self, mode: Mode, now_ns: int, late_ns: int, tick_ns: int) -> None:
        """Fill `log` with the tick just done."""
        log, view, controller = self.log, self._view, self.controller
        frame = controller.window.now
        log["now_ns"], log["state_ns"], log["sequence"] = now_ns, self.target["state_ns"], self.target["sequence"]
        log["late_ns"], log["tick_ns"] = late_ns, tick_ns
        log["phase"], log["mode"], log["play_time_s"] = self.pilot.phase, mode, self.pilot.play_time_s
        log["root_height_m"] = frame.root_pos[2]
        view["reference_xy_m"][:] = frame.root_pos[:2]
        view["root_quat_wxyz"][:] = frame.root_quat_wxyz
        view["command"][:] = self.helm.command
        view["reference_q"][:] = frame.joint_pos
        view["q"][:] = controller.inputs.q
        view["action"][:] = controller.action
        view["target"][:] = self._block
        if self.estimator is not None:
            view["estimate"][:] = self.estimator.values
        if self._logs_stream and self.stream is not None:
            log["stream_added_s"], log["stream_age_s"] = self.stream.added_s, self.stream.age_s
            log["source"] = self.helm.source
        start = 0
        for observation, _, _ in controller.observations:
            self._observation[start : start + observation.values.size] = observation.values
            start += observation.values.size


def open_controller(
    manifest: Manifest, settings: RunSettings, say: Callable[[str], None] | None = None
) -> Controller:
    """The controller of a run. One of a bundle is verified first, and opened from the bytes that were verified."""
    admitted = admit(str(manifest.path), target=settings.target, allow_unsigned=settings.allow_unsigned)
    return open_admitted(admitted, settings.model, settings.backend, say)


def open_admitted(
    admitted: Admitted, given: str | None = None, backend: str = "cpu", say: Callable[[str], None] | None = None
) -> Controller:
    """The controller of what was admitted, with what its model says of itself; a bundle's golden vectors replayed.

    Args:
        given: a model file instead of the manifest's own; a bundle takes none but its own.
        say: hears which backend was taken, and why not a faster one.
    """
    manifest, path = admitted.manifest, admitted.manifest.path
    origin = given or str(path.parent if path.name == MANIFEST else path)
    stages = {stage.name: open_model(admitted.stage_model(stage), backend, origin, _named(stage.name, say))
              for stage in manifest.stages}
    model = open_model(admitted.model(given), backend, origin, _named("policy", say) if stages else say)
    controller = Controller(adopt_metadata(manifest, model.metadata()), model, stages)
    if admitted.bundle is not None:
        check_golden(admitted.bundle, controller)
    return controller


def _named(network: str, say: Callable[[str], None] | None) -> Callable[[str], None] | None:
    return None if say is None else lambda line: say(f"{network}: {line}")


def _keeps_place(manifest: Manifest, settings: RunSettings) -> bool:
    """Whether the robot is kept at its reference's place, as the settings say, else the manifest."""
    if not (manifest.keeps_place if settings.keep_place is None else settings.keep_place):
        return False
    if manifest.kind != "tracker" or not follows_velocities(manifest):
        raise Refused(f"controller {manifest.name}, keep_place",
                      expected=f"a tracker that is told {' or '.join(ROOT_VELOCITIES)}", found="another",
                      what_to_do="leave it out: what follows places, or commands, needs no such help")
    return True


def _motion(manifest: Manifest, settings: RunSettings) -> tuple[ReferenceSource | None, float]:
    """What to follow and for how long; no source yet where the motion lies inside the network."""
    if settings.follow:
        if manifest.kind != "tracker" or manifest.embedded is not None:
            raise Refused("--follow", expected="a tracker that is given its motion", found=manifest.name,
                          what_to_do="choose another controller")
        return None, math.inf if settings.duration_s is None else settings.duration_s
    if settings.stream is not None:
        if manifest.embedded is not None or settings.clip is not None or any(settings.command):
            given = f"--clip {settings.clip}" if settings.clip else f"--command {settings.command}"
            raise Refused("--stream", expected="a controller that is given its motion or velocity by the stream alone",
                          found=f"{manifest.name} and {given}" if manifest.embedded is None else manifest.name,
                          what_to_do="choose another controller, or leave one of the two out")
        return None, math.inf if settings.duration_s is None else settings.duration_s
    if manifest.embedded is not None:
        refuse_other_motion(manifest, settings.clip, settings.command)
        return None, math.inf if settings.duration_s is None else settings.duration_s
    if manifest.kind == "tracker":
        if settings.clip is None:
            raise Refused(f"controller {manifest.name}", expected="a motion", found="none",
                          what_to_do="give one with --clip FILE.npz")
        if any(settings.command):
            raise Refused(f"controller {manifest.name}", expected="a motion, not a velocity command",
                          found=f"--command {settings.command}", what_to_do="leave --command out")
        clip = load_motion(settings.clip, manifest.robot)
        check_clip_feeds(manifest, mode_of(manifest, settings.mode), clip)
        play_s = clip.duration_s if settings.duration_s is None else min(settings.duration_s, clip.duration_s)
        return ClipReference(clip, manifest.order, rest_at_end=manifest.rest_at_end), play_s
    if settings.clip is not None:
        raise Refused(f"controller {manifest.name}", expected="a velocity command", found="a clip",
                      what_to_do="give --command VX,VY,YAW_RATE, or choose a tracker for the clip")
    for name, value, (low, high) in zip(("vx", "vy", "yaw rate"), settings.command, manifest.command_ranges or (),
                                        strict=True):
        if not low <= value <= high:
            raise Refused(f"command {name}", expected=f"from {low} to {high} for {manifest.name}", found=f"{value}",
                          what_to_do="stay within the range it was trained for")
    return None, 10.0 if settings.duration_s is None else settings.duration_s


