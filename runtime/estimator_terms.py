"""Observation terms of estimators: what an estimator says, and what only an estimator's own network may look at."""

from __future__ import annotations

from typing import Any

from runtime.errors import Refused
from runtime.terms import TERMS, Source, Term, TickInputs

ESTIMATE = "estimate"
"""The place of an estimate in a controller's inputs: base velocity (3), base height (1), contacts (2)."""
ESTIMATE_SIZE = 6
ESTIMATOR_INPUTS = ("filtered", "joint_torque", "leg_odometry")
"""Places an estimator fills for its own network."""


def _estimate_term(name: str, meaning: str, first: int, size: int) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> Source:
        if not inputs.is_estimated:
            raise Refused(
                f"term {name}", expected="an estimator to read it from", found="none",
                what_to_do='choose one in the manifest, "estimator": "classical" or an estimator\'s bundle, or with '
                "--estimator",
            )
        if not inputs.has(ESTIMATE):
            inputs.own_place(ESTIMATE, ESTIMATE_SIZE)
        return inputs.source(ESTIMATE, first, size)

    TERMS[name] = Term(make, meaning)


def _input_term(name: str, meaning: str) -> None:
    def make(inputs: TickInputs, _: dict[str, Any]) -> Source:
        if not inputs.has(name):
            raise Refused(f"term {name}", expected="the inputs of an estimator", found="those of a controller",
                          what_to_do="use terms that controllers have (docs/controllers.md)")
        return inputs.source(name)

    TERMS[name] = Term(make, meaning)


_estimate_term("base_lin_vel", "estimated base velocity in base, m/s (3)", 0, 3)
_estimate_term("base_height", "estimated base height above the foot that carries, m (1)", 3, 1)
_estimate_term("contact", "estimated contact of the left and the right foot, 0 to 1 (2)", 4, 2)
_input_term("filtered", "the classical filter's estimate: velocity (3), height (1), contacts (2); estimators only (6)")
_input_term("joint_torque", "joint torques, N m (n); estimators only")
_input_term("leg_odometry", "of each foot: base velocity (3) and height (1) were it planted, its force / 100 N (1); "
            "estimators only (10)")
