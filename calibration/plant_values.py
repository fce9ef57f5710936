"""What a fitted joint puts into a calibration file, and how exact it has to be for that."""

from __future__ import annotations

import numpy as np

from calibration.joint_fit import Fit
from calibration.routine import Found, Value, Verdict

MOST_SHARE, MOST_OF_ROTOR = 0.2, 0.1
"""Half-width of a 95 % interval over its value; of a rotor, since tables know those to 20 % or so already."""
ENOUGH = {"coulomb": 0.02, "viscous": 0.01, "armature": 0.0003}
"""Half-widths, in the values' units, that are good enough whatever the value."""
UNSAID = 0.02
"""Half-width, of a value, of what the equation does not say of a joint (how friction turns round, how what holds the
robot gives way): without noise, values of an elbow were off by up to 1.6 %, of a waist by 3.6 %.
"""
MOST_DELAY_S = 0.001
TIMING_S = 0.00025
"""What no fit of sampled signals knows of when a sample was taken within the drive; a physics step of a simulation."""
KEYS = {"coulomb": "coulomb_n_m", "viscous": "viscous_n_m_s_rad", "armature": "armature_kg_m2",
        "stribeck": "stribeck_n_m", "scale": "torque_scale"}


def add_friction(found: Found, joint: str, fit: Fit) -> None:
    """`plant.JOINT.coulomb_n_m` and so on."""
    for name in ("coulomb", "viscous"):
        _add(found, joint, fit, name)
    if "stribeck" in fit.width:
        _add(found, joint, fit, "stribeck")
        found.values.append(Value(f"plant.{joint}.stribeck_rad_s", fit.model.stribeck_rad_s,
                                  fit.model.stribeck_rad_s / 2))


def add_inertia(found: Found, joint: str, fit: Fit) -> None:
    """`plant.JOINT.armature_kg_m2` and `torque_scale`, on which it rests."""
    _add(found, joint, fit, "armature")
    _add(found, joint, fit, "scale")


def add_delay(found: Found, fits: dict[str, Fit]) -> None:
    """`plant.delay.command_s` of all joints, the whole loop's: a mean that weighs each by its interval."""
    if not fits:
        return
    values = np.array([fit.model.delay_s for fit in fits.values()])
    widths = np.array([max(fit.width["delay_s"], 1e-6) for fit in fits.values()])
    weights = widths**-2 / (widths**-2).sum()
    mean = float(weights @ values)
    apart = 1.96 * float(np.sqrt(weights @ (values - mean) ** 2 / max(len(values) - 1, 1)))
    width = float(np.hypot(max(float((widths**-2).sum() ** -0.5), apart), TIMING_S))
    found.values.append(Value("plant.delay.command_s", mean, width))
    found.facts["delay"] = {
        "loop_s": mean, "of_joint_s": {name: fit.model.delay_s for name, fit in fits.items()},
        "not_separable": "a command's way and a state's: states carry no time of the drives' own, so only their sum "
        "shows; it is kept as the command's, which a simulation cannot tell from the truth"}
    found.verdicts.append(Verdict("delay", width <= MOST_DELAY_S, f"{1e3 * mean:.2f} +- {1e3 * width:.2f} ms",
                                  f"+- {1e3 * MOST_DELAY_S:g} ms", "take joints with little inertia: ankles, elbows"))


def _add(found: Found, joint: str, fit: Fit, name: str) -> None:
    """A value, where it is exact enough; otherwise it is left as it was, and said."""
    value = float(getattr(fit.model, name))
    width = float(np.hypot(fit.width[name], UNSAID * value))
    limit = max((MOST_OF_ROTOR if name == "armature" else MOST_SHARE) * abs(value), ENOUGH.get(name, 0.0))
    is_told = value > -width and width <= limit
    if is_told:
        found.values.append(Value(f"plant.{joint}.{KEYS[name]}", value, width))
    else:
        found.facts.setdefault("not_told", []).append(f"{joint}.{KEYS[name]}")
    found.verdicts.append(Verdict(
        f"{joint}: {KEYS[name]}", True, f"{value:.5f} +- {width:.5f}" + ("" if is_told else ": left as it was"),
        f"written from 0 on, +- {limit:.5f}"))
