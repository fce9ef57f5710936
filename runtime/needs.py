"""What a controller must be given: which reference frames, and which channels in which mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runtime.channels import CHANNELS, HAND_JOINTS, ChannelTable, known_channel
from runtime.clip import WRISTS, Clip
from runtime.errors import Refused
from runtime.manifest import Manifest
from runtime.terms import TERMS, reference_offsets

ROOT_VELOCITIES = ("ref_root_lin_vel_xy", "ref_root_lin_vel")


def terms_of(inputs: tuple[dict[str, Any], ...]) -> Iterator[tuple[dict[str, Any], tuple[str, ...] | None]]:
    """Every term entry of a network's inputs, with the modes it counts in (None: in each)."""
    for entry in inputs:
        for block in entry["blocks"]:
            for term in block.get("terms", []):
                modes = term.get("modes", block.get("modes"))
                yield term, None if modes is None else tuple(modes)


def reference_needs(manifest: Manifest) -> tuple[list[int], dict[str, set[str]]]:
    """The look-ahead offsets a controller reads, and its channels with the modes that read them.

    The modes are names; a controller without modes, and a term that counts in each, are under "".
    """
    offsets, channels = [0], dict[str, set[str]]()
    for inputs in (*(stage.inputs for stage in manifest.stages), manifest.inputs):
        for term, modes in terms_of(inputs):
            kind = TERMS[term["term"]]
            if "frames" in kind.settings:
                offsets += reference_offsets(kind.full(term))
            for name in kind.channels(kind.full(term)):
                known_channel(name, f"term {term['term']}")
                channels.setdefault(name, set()).update(("",) if modes is None else modes)
    for stage in manifest.stages:
        others = set(manifest.modes) - set(stage.modes or manifest.modes)
        for name in stage.instead.values():
            channels.setdefault(name, set()).update(others)
    return offsets, channels


def follows_velocities(manifest: Manifest) -> bool:
    """Whether a controller is told how fast the reference's root moves, each tick anew."""
    return manifest.embedded is None and any(
        term["term"] in ROOT_VELOCITIES for inputs in (*(stage.inputs for stage in manifest.stages), manifest.inputs)
        for term, _ in terms_of(inputs))


def stream_needs(manifest: Manifest, mode: str, *, has_hands: bool) -> tuple[ChannelTable, float]:
    """What a stream brings a controller in a mode besides joints and root, hands too; how far it looks ahead, s."""
    _, channels = reference_needs(manifest)
    names = [name for name, modes in channels.items() if modes & {"", mode}]
    names += [HAND_JOINTS] if has_hands else []
    offsets = [0]
    for inputs in (*(stage.inputs for stage in manifest.stages), manifest.inputs):
        for term, modes in terms_of(inputs):
            kind = TERMS[term["term"]]
            if "frames" in kind.settings and (modes is None or mode in modes):
                offsets += reference_offsets(kind.full(term))
    return ChannelTable(names), max(offsets) / manifest.rate_hz


def mode_of(manifest: Manifest, name: str | None) -> str:
    """The mode a run is to be in: the one named, else the manifest's first; "" for a controller without modes.

    Raises:
        Refused: the controller has no such mode.
    """
    if name is None:
        return next(iter(manifest.modes), "")
    if name not in manifest.modes:
        raise Refused(f"--mode of {manifest.name}", expected=f"one of {', '.join(manifest.modes) or 'no modes at all'}",
                      found=name, what_to_do="choose one of the controller's modes" if manifest.modes
                      else "leave --mode out")
    return name


def check_clip_feeds(manifest: Manifest, mode: str, clip: Clip) -> None:
    """A motion brings every channel the mode reads, and joints where it follows joints.

    Raises:
        Refused: with what it lacks.
    """
    _, channels = reference_needs(manifest)
    wanted = sorted(name for name, modes in channels.items() if CHANNELS[name].needed and modes & {"", mode})
    missing = [name for name in wanted if name not in clip.channels]
    if missing:
        raise Refused(
            f"clip {clip.name} for {manifest.name}" + (f" in mode {mode}" if mode else ""),
            expected=f"channels {', '.join(wanted)}",
            found=f"{', '.join(sorted(clip.channels)) or 'none'} (missing {', '.join(missing)})",
            what_to_do="give a clip that carries them (docs/clips.md)" + (", or choose another --mode" if mode else ""),
        )
    if clip.joints == WRISTS and "smpl_joints" not in wanted:
        raise Refused(
            f"clip {clip.name} for {manifest.name}" + (f" in mode {mode}" if mode else ""),
            expected="a robot's joints", found="a human's motion, of which only the wrists are a robot's",
            what_to_do="convert it again with `exoactor motion convert --retarget`",
        )


def memory_ticks(manifest: Manifest) -> int:
    """Control periods after which nothing from before stands in a controller's observations any more.

    Hidden state has no such end; a second stands for it.
    """
    longest = 1
    for inputs in (*(stage.inputs for stage in manifest.stages), manifest.inputs):
        for entry in inputs:
            lengths: dict[Any, int] = {}
            for block in entry["blocks"]:
                own = int(block["length"]) if "past_of" in block else int(block.get("history", {}).get("length", 1))
                terms = [int(term["history"]["length"]) for term in block.get("terms", []) if "history" in term]
                lengths[block.get("name")] = own + max(terms, default=1) - 1
            for block in entry["blocks"]:
                if "past_of" in block:
                    lengths[block["past_of"]] = lengths[block["past_of"]] + int(block["length"])
            longest = max(longest, *lengths.values())
    is_recurrent = bool(manifest.recurrent) or any(stage.recurrent for stage in manifest.stages)
    return max(longest, round(manifest.rate_hz)) if is_recurrent else longest
