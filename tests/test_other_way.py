"""Another way is found for an arm that has come to the end of its range, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from runtime.other_way import CHANGE_SHARE, OtherWay, costs_of
from runtime.retarget_bench import FPS, targets_of, walk_and_reach
from runtime.retarget_quality import frame_costs
from tests.retarget_cases import KINEMATICS, TABLE, make_retargeter

F64 = Any


def way_of(q: F64, positions: F64, quats: F64, begin: int = 0) -> tuple[F64 | None, F64]:
    solver = make_retargeter().solver
    costs = costs_of(solver, q, positions, quats)[0]
    return OtherWay(solver, q, positions, quats, costs, begin).found(), costs


def trapped() -> tuple[F64, F64, F64, F64]:
    """A motion's targets, its good solutions, and those of an arm that came in on a bad way in the middle."""
    retargeter = make_retargeter()
    positions, quats, good, _ = targets_of(TABLE, walk_and_reach(4.0), retargeter)
    solver, bad = retargeter.solver, good.copy()
    start = good[40].copy()
    for name, off in (("right_shoulder_pitch_joint", 2.6), ("right_shoulder_roll_joint", -2.2),
                      ("right_shoulder_yaw_joint", -2.5)):
        start[7 + KINEMATICS.joints.index(name)] = off
    solver.start(start)
    for t in range(40, 160):
        solver.solve(positions[t], quats[t])
        bad[t] = solver.q
    return positions, quats, good, bad


def test_costs_are_those_of_the_report() -> None:
    positions, quats, good, _ = trapped()
    costs, points = costs_of(make_retargeter().solver, good, positions, quats)
    found = KINEMATICS.place_all(good)
    np.testing.assert_allclose(costs, frame_costs(TABLE, found, (positions, quats)), rtol=1e-9)
    np.testing.assert_allclose(points, found[0])


def test_a_trapped_arm_gets_its_other_way() -> None:
    positions, quats, _, bad = trapped()
    found, costs = way_of(bad, positions, quats)
    assert costs[90:110].mean() > 2 * costs[:40].mean()  # else nothing was trapped
    assert found is not None
    cost = costs_of(make_retargeter().solver, found, positions, quats)[0]
    assert cost[90:110].mean() < 0.5 * costs[90:110].mean() and cost.sum() < 0.8 * costs.sum()
    low, high = make_retargeter().solver.limits
    assert (found[:, 7:] >= low).all() and (found[:, 7:] <= high).all()


def test_a_motion_without_an_arm_at_its_end_stays() -> None:
    positions, quats, good, _ = trapped()
    assert way_of(good, positions, quats)[0] is None


def test_what_is_settled_stays() -> None:
    positions, quats, _, bad = trapped()
    found, _ = way_of(bad, positions, quats, begin=90)
    assert found is None or np.array_equal(found[:90], bad[:90])


def test_the_solver_goes_on_from_where_it_was() -> None:
    positions, quats, _, bad = trapped()
    solver = make_retargeter().solver
    solver.start(bad[-1])
    solver.solve(positions[-1], quats[-1])
    q, change = solver.q.copy(), solver.change.copy()
    OtherWay(solver, bad, positions, quats, costs_of(solver, bad, positions, quats)[0], 0).found()
    np.testing.assert_array_equal(solver.q, q)
    np.testing.assert_array_equal(solver.change, change)
    assert change.any()


@pytest.mark.parametrize("frames", [1, 3, 8, 9, 12])
def test_short_motions_are_looked_at_too(frames: int) -> None:
    positions, quats, _, bad = trapped()
    part = slice(84, 84 + frames)
    found, costs = way_of(bad[part], positions[part], quats[part])
    if found is not None:
        cost = costs_of(make_retargeter().solver, found, positions[part], quats[part])[0]
        assert len(found) == frames and cost.sum() < costs.sum()


def test_a_change_takes_as_long_as_its_way() -> None:
    """From one way to the other over the whole motion: half a turn of a joint in no less than its time."""
    positions, quats, good, _ = trapped()
    solver = make_retargeter().solver
    far = good.copy()
    far[:, 7 + KINEMATICS.joints.index("right_wrist_roll_joint")] += 1.5
    way = OtherWay(solver, good, positions, quats, costs_of(solver, good, positions, quats)[0], 0)
    share = way._best_change(far, np.zeros(len(good)), [100], is_entry=True)
    fastest = np.abs(np.diff(way._between(far, share, slice(0, len(good)))[:, 7:]
                             - good[:, 7:], axis=0)).max() * FPS
    assert fastest == pytest.approx(CHANGE_SHARE * TABLE.solving.speed_rad_s, rel=0.05)
