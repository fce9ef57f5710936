"""The stages of words: the scene and its picture, the plan, the picture with a person in it, the prompts."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.imagine.actions import FORMAT, Plan, read_plan, schema
from export.imagine.film import EMBEDDED, PICTURE, first_picture, robot_picture
from export.imagine.grammar import decompose
from export.imagine.prompt import EMBODY, SYSTEM, VideoPrompt, ask_for_plan, video_prompts
from export.imagine.props import furnish
from export.imagine.provider import Provider, Request
from export.imagine.stage import Work
from firmware_bridge.scene import Scene, load_scene, read_scene
from runtime.errors import Refused
from runtime.reader import Reader, parse_json

SCENE, PLAN, PROMPTS = "scene.json", "plan.json", "prompts.json"
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"


def read_json(path: Path) -> Any:
    """A stage's JSON file; refuses what is none."""
    reader = Reader(f"{path}", "do the stage anew with --from, or put another file there with --replace")
    try:
        return parse_json(path.read_bytes(), reader)
    except OSError as error:
        raise reader.refuse("file", "a readable file", f"{error}") from error


def write_json(path: Path, data: Any) -> None:
    """A stage's JSON file."""
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


def scene_of(folder: Path) -> Scene | None:
    """The scene's things; None where only a picture is known."""
    data = read_json(folder / SCENE)
    return None if isinstance(data, dict) and data.get("known") is False else read_scene(data)


class SceneStage:
    """Task and scene: a described scene and its picture, a picture alone, or what the task's words name."""

    name, needs, file, version = "scene", (), SCENE, "1"
    provider = EMBEDDED

    def __init__(self, task: str, scene: Path | None, image: Path | None, robot: str) -> None:
        self._task, self._scene, self._image, self._robot = task, scene, image, robot

    def settings(self) -> Any:
        """The robot in the picture; task and files are in the request."""
        return [self._robot]

    def check(self, folder: Path) -> None:
        """A scene that can be read, and a picture."""
        scene_of(folder)
        check_picture(folder / PICTURE)

    def work(self, work: Work) -> None:
        """Reads, furnishes or takes over; draws where no picture was given."""
        if self._image is not None and self._scene is None:
            write_json(work.out / SCENE, {"known": False})
            work.notes.append("only a picture is known of the scene: objects are believed as they are named")
        else:
            scene = furnish(self._task, work.seed) if self._scene is None else load_scene(self._scene)
            (work.out / SCENE).write_text(scene.as_json(), "utf-8")
            if self._scene is None:
                work.notes.append("nobody described the scene: what the task names was put at likely places")
        if self._image is not None:
            shutil.copyfile(self._image, work.out / PICTURE)
        else:
            robot_picture(scene_of(work.out) or Scene(), self._robot, work.seed, work.out / PICTURE)


def check_picture(path: Path) -> None:
    """Refuses what is no picture."""
    head = path.read_bytes()[:8] if path.is_file() else b""
    if not head.startswith((PNG, JPEG)):
        raise Refused(f"{path}", expected="a PNG or JPEG picture", found=f"{head!r}" if head else "nothing",
                      what_to_do="give another picture")


class PlanStage:
    """The task's atomic actions, by a language model or by the grammar."""

    name, needs, file = "decompose", ("scene",), PLAN

    def __init__(self, task: str, provider: Provider | None) -> None:
        self._task, self._provider = task, provider
        self.provider = EMBEDDED if provider is None else provider.name
        self.version = "grammar 1" if provider is None else provider.model

    def settings(self) -> Any:
        """Who, and told what."""
        return [self.provider, self.version, SYSTEM if self._provider else ""]

    def check(self, folder: Path) -> None:
        """A plan that can be read."""
        load_plan(folder)

    def work(self, work: Work) -> None:
        """Asks, and reads the answer with care."""
        scene = scene_of(work.run.of("scene"))
        names = [] if scene is None else [thing.name for thing in scene.things]
        if self._provider is None:
            places = {} if scene is None else {thing.name: thing.position_m[:2] for thing in scene.things}
            plan = decompose(self._task, places)
        else:
            picture = (work.run.of("scene") / PICTURE).read_bytes()
            text = self._provider.ask(Request(ask_for_plan(self._task, names), system=SYSTEM, seed=work.seed,
                                              image=picture, answer_schema=schema()), work.ledger).decode()
            plan = read_plan(self._task, _json_in(text), names)
        work.notes += plan.repairs
        write_json(work.out / PLAN, plan.as_json())


def _json_in(text: str) -> Any:
    """The JSON of an answer, also between the fences that models like to put round it."""
    start, end = text.find("{"), text.rfind("}")
    return parse_json(text[start:end + 1].encode(), Reader("the model's answer", "ask it again with --from decompose"))


def load_plan(folder: Path) -> Plan:
    """The plan of the stage's folder, its own or one that a person put there."""
    data = read_json(folder / PLAN)
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("task"), str):
        raise Refused(f"{folder / PLAN}", expected=f'"format": "{FORMAT}" and a "task"', found=f"{data!r}"[:120],
                      what_to_do="write it as docs/imagine.md shows")
    return read_plan(data["task"], data)


class EmbodyStage:
    """The scene's picture with a person where the robot stands."""

    name, needs, file = "embody", ("scene",), PICTURE

    def __init__(self, provider: Provider | None) -> None:
        self._provider = provider
        self.provider = EMBEDDED if provider is None else provider.name
        self.version = "mannequin 1" if provider is None else provider.model

    def settings(self) -> Any:
        """Who, and told what."""
        return [self.provider, self.version, EMBODY if self._provider else ""]

    def check(self, folder: Path) -> None:
        """A picture."""
        check_picture(folder / PICTURE)

    def work(self, work: Work) -> None:
        """Asks for it, or draws our mannequin in the known scene."""
        picture = work.run.of("scene") / PICTURE
        if self._provider is not None:
            request = Request(EMBODY, image=picture.read_bytes(), seed=work.seed)
            (work.out / PICTURE).write_bytes(self._provider.ask(request, work.ledger))
            return
        scene = scene_of(work.run.of("scene"))
        if scene is None:
            raise Refused("embody", expected="a described scene (--scene), which our mannequin can be drawn into",
                          found="a picture only", what_to_do="name a provider for embody, or describe the scene")
        first_picture(scene, work.seed, work.out / PICTURE)


class PromptStage:
    """The five sections of each action's video."""

    name, needs, file, version = "prompt", ("scene", "decompose"), PROMPTS, "1"
    provider = EMBEDDED

    def settings(self) -> Any:
        """None."""
        return []

    def check(self, folder: Path) -> None:
        """Prompts that can be read."""
        load_prompts(folder)

    def work(self, work: Work) -> None:
        """Writes them."""
        scene = scene_of(work.run.of("scene"))
        names = [] if scene is None else [thing.name for thing in scene.things]
        prompts = video_prompts(load_plan(work.run.of("decompose")), names)
        write_json(work.out / PROMPTS, [asdict(prompt) for prompt in prompts])


def load_prompts(folder: Path) -> list[VideoPrompt]:
    """The prompts of the stage's folder."""
    data = read_json(folder / PROMPTS)
    try:
        return [VideoPrompt(**row) for row in data]
    except TypeError as error:
        raise Refused(f"{folder / PROMPTS}", expected=f"rows of {', '.join(VideoPrompt.__dataclass_fields__)}",
                      found=str(error), what_to_do="write it as docs/imagine.md shows") from error
