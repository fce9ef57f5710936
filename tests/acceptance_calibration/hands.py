"""Hands: encoders that are off and ends that are not quite the table's, both hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.hand_bench import HandRun
from calibration.hand_session import Stepping
from calibration.hands import Hands
from firmware_bridge.hand_bus import SIDES
from firmware_bridge.imperfect_hands import ImperfectHands
from firmware_bridge.simulated_hands import read_hand_table
from firmware_bridge.truth import read_truth
from runtime.hand import HANDS, load_hand
from tests.acceptance_calibration.figures import Asked, Check, Measured

ASKED = {"end of a joint": Asked(0.01, "rad")}


def trial(seed: int, folder: Path) -> list[Measured | Check]:
    """One pair."""
    rng, model = np.random.default_rng((seed, 74)), load_hand("dex3-1")
    hidden: dict[str, dict[str, dict[str, float]]] = {side: {} for side in SIDES}
    for side, name in enumerate(SIDES):
        for joint, key in enumerate(model.joints):
            lower, upper = float(model.lower_rad[side, joint]), float(model.upper_rad[side, joint])
            hidden[name][key] = {"encoder_offset_rad": float(rng.uniform(-0.15, 0.15)),
                                 "lower_rad": lower + float(rng.uniform(-0.03, 0.03)),
                                 "upper_rad": upper + float(rng.uniform(-0.03, 0.03))}
    truth = read_truth({"schema": "exoactor-truth/1", "seed": seed, "noise": {"q_rad": 1e-3, "dq_rad_s": 0.02},
                        "hands": hidden})
    simulated, routine = ImperfectHands(read_hand_table(HANDS / "dex3_1.json"), model.joints, truth), Hands(model)
    run = HandRun(routine.steps, routine.enclosed, simulated, Stepping(simulated))
    recording = run.run()
    if run.stopped:
        return [Check("runs to its end", False, run.stopped)]
    found = routine.fit(recording)
    rows: list[Measured | Check] = [Check("is verified", found.ok, "; ".join(
        verdict.name for verdict in found.verdicts if not verdict.ok))]
    for value in found.values:
        _, _, side_name, joint_name, end = value.key.split(".")
        row = hidden[side_name][joint_name]
        rows.append(Measured("end of a joint", row[end] + row["encoder_offset_rad"], value.value, value.half_width,
                             f"{side_name} {joint_name}"))
    return rows
