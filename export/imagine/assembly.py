"""The last stage: each human motion as the robot's, checked, and all of them as a chain that a run takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export.imagine.estimation import motion_name, motions_in
from export.imagine.failure_report import refuse_other_count, refuse_reported
from export.imagine.film import EMBEDDED
from export.imagine.grounding import Spot, ground
from export.imagine.run_folder import BY_HAND, RunFolder
from export.imagine.stage import Work
from export.imagine.words import load_plan, scene_of, write_json
from export.motion.body_checks import check_robot_motion
from export.motion.convert import Wish, convert
from export.motion.findings import accepted, refused, table
from export.motion.robot_motion import of_clip
from export.motion.show import Size, show_motion
from runtime.chain import FORMAT, load_motion
from runtime.clip import load_clip
from runtime.errors import Refused
from runtime.human_motion import save_human_motion
from runtime.robot import load_robot

CLIPS, CHAIN, FINDINGS, PREVIEW, GROUNDED = "clips", "chain.json", "findings.json", "preview", "grounded"


def shows_its_scene(run: RunFolder) -> bool:
    """Whether the scene's places are those of what the motions show: a person described it, or our own film shows it.

    What stands at likely places only is in nobody else's video.
    """
    is_described = run.given("scene") is not None or run.row("scene").provider == BY_HAND
    return is_described or (run.row("film").provider == EMBEDDED and run.row("estimate").provider != BY_HAND)


class AssembleStage:
    """Clips and a chain of them."""

    name, needs, file, version = "assemble", ("scene", "decompose", "estimate", "report"), CHAIN, "3"
    provider = EMBEDDED

    def __init__(self, robot: str, preview: bool = True) -> None:
        self._robot, self._preview = robot, preview

    def settings(self) -> Any:
        """Whose joints, and whether they are drawn."""
        return [self._robot, self._preview]

    def check(self, folder: Path) -> None:
        """A chain that a run would take."""
        load_motion(str(folder / CHAIN), load_robot(self._robot))

    def work(self, work: Work) -> None:
        """Leads motions to their things where the scene is known, retargets, checks, and binds together.

        Refuses what the robot should not do.
        """
        refuse_reported(work.run.of("report"))
        robot, plan = load_robot(self._robot), load_plan(work.run.of("decompose"))
        motions = motions_in(work.run.of("estimate"))
        refuse_other_count(len(motions), plan)
        scene, spot = scene_of(work.run.of("scene")) if shows_its_scene(work.run) else None, Spot()
        if scene is None:
            work.notes.append("no motion is led to its thing: nobody said where things are in what the motions show")
        for folder in (CLIPS, GROUNDED) if scene else (CLIPS,):
            (work.out / folder).mkdir()
        rows, bad = [], []
        for i, step in enumerate(plan.actions):
            source, out = work.run.of("estimate") / motion_name(i), work.out / CLIPS / motion_name(i)
            if scene is not None:
                done = ground(motions[i], step, scene, spot, robot)
                source, spot = work.out / GROUNDED / motion_name(i), done.end
                save_human_motion(source, done.motion)
                work.notes += [f"action {i + 1} ({step.verb}): {note}" for note in done.notes]
            fact = convert(source, out, Wish(robot=self._robot, retarget=True))
            motion = of_clip(load_clip(out, robot))
            findings = check_robot_motion(motion, robot, pose=None)
            rows.append({"action": step.verb, "object": step.object, "retarget": fact["retarget"],
                         "findings": [finding.as_json() for finding in findings]})
            if not accepted(findings):
                bad.append(f"action {i + 1} ({step.verb}): " + table(refused(findings)))
            elif self._preview:
                show_motion(motion, robot, findings, work.out / PREVIEW / f"{i + 1:02d}", plant=None,
                            size=Size(240, 180))
        (work.out / FINDINGS).write_text(json.dumps(rows, indent=1, default=float) + "\n", "utf-8")
        if bad:
            raise Refused("motions", expected="motions that the robot can do", found="\n".join(bad),
                          what_to_do="film it anew with --from film, or put another motion there with "
                                     "--replace estimate=PATH")
        write_json(work.out / CHAIN, {"format": FORMAT, "actions": [
            {"clip": f"{CLIPS}/{motion_name(i)}"} for i in range(len(motions))]})
