"""The five-section prompt of a video, one for each action: Shot, Scene, Motion, Execution, End State."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.imagine.actions import VERBS, Action, Plan

SHOT = ("One continuous shot by a fixed third-person camera at chest height, the whole body in view from head to feet "
        "at all times. No cut, no zoom, no movement of the camera.")
STYLE = ("The person moves like a careful robot: at an even, moderate speed, feet planted, no gesture that the action "
         "does not need, no slow motion.")
NEGATIVE = "camera movement, cuts, zoom, extra people, objects that appear, vanish or change size, cropped body, blur"
EMBODY = ("Replace the humanoid robot in this picture by a person in the same pose, with the same orientation, place "
          "and body proportions. Change nothing else: scene, camera and light stay as they are. If there is no robot, "
          "put a standing person where one could act.")
SYSTEM = (
    "You take a task for a humanoid robot apart into atomic actions, in order. Use only these verbs:\n"
    + "\n".join(f"- {verb.name}: {verb.summary}"
                f" (object {verb.object}; hand {' or '.join(verb.hands)}; {verb.seconds[0]:g} to {verb.seconds[2]:g} s)"
                for verb in VERBS)
    + "\nName objects as the scene names them. Walk to what is out of reach before a hand has to be at it. end_state is"
      " one sentence that is true when the action is over. As few actions as the task needs.")
_HANDS = {"left": "with the left hand", "right": "with the right hand", "both": "with both hands", "none": ""}


@dataclass(frozen=True)
class VideoPrompt:
    """What a video of one action is asked for with; `seconds` is how long the action may take."""

    shot: str
    scene: str
    motion: str
    execution: str
    end_state: str
    seconds: float

    @property
    def text(self) -> str:
        """The five sections as one text."""
        sections = (("Shot", self.shot), ("Scene", self.scene), ("Motion", self.motion),
                    ("Execution", self.execution), ("End State", self.end_state))
        return "\n".join(f"{title}: {words}" for title, words in sections)


def ask_for_plan(task: str, things: Sequence[str]) -> str:
    """What the model that decomposes is told of the task."""
    held = f"The scene holds: {', '.join(things)}." if things else "The picture shows the scene."
    return f"Task: {task}\n{held}"


def video_prompts(plan: Plan, things: Sequence[str]) -> list[VideoPrompt]:
    """One prompt an action; each begins where the one before ended."""
    scene = ("The scene of the picture, with " + ", ".join(f"the {name}" for name in things) + "." if things
             else "The scene of the picture, unchanged.")
    prompts, before = [], "stands upright, arms hanging"
    for step in plan.actions:
        prompts.append(VideoPrompt(
            SHOT, f"{scene} At the beginning the person {before}.", _motion(step), f"{STYLE} It takes about "
            f"{step.duration_s:g} seconds.", f"The person {step.end_state}, holds still, and is seen entirely.",
            step.duration_s))
        before = step.end_state
    return prompts


def _motion(step: Action) -> str:
    what = f" the {step.object}" if step.object else ""
    hand = f" {_HANDS[step.hand]}" if _HANDS[step.hand] else ""
    summary = next(verb.summary for verb in VERBS if verb.name == step.verb)
    return f"{step.verb.capitalize()}{what}{hand}: the person {summary}."
