"""What a manifest says joint by joint: values in policy order, gains, and the joints that are only held."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.reader import Reader
from runtime.robot import JointOrder, Robot

F32 = npt.NDArray[np.float32]


class JointReader(Reader):
    """One manifest being read, as far as it is about joints."""

    data: dict[str, Any]

    def per_joint(self, key: str, found: Any, order: JointOrder) -> F32:
        """One number for all, a list in policy order, or an object by joint name."""
        if isinstance(found, dict):
            JointOrder(tuple(found)).index_of(order)
            found = [found[name] for name in order.names]
        values = np.array(self.numbers(key, found), np.float32)
        if not isinstance(found, list):
            values = np.full(len(order), values[0], np.float32)
        if values.shape != (len(order),):
            raise self.refuse(key, f"one number or {len(order)}, one a joint", f"{len(values)}")
        return values

    def gains(self, robot: Robot, order: JointOrder) -> tuple[F32, F32]:
        gains = self.data["gains"]
        self.keys("gains", gains, {"kp", "kd", "order", "kp_factor", "kd_factor"}, {"kp", "kd"})
        given = self.one_of("gains.order", gains.get("order", "policy"), ("policy", "motor"))
        out = []
        for key, limit in (("kp", robot.kp_max), ("kd", robot.kd_max)):
            if given == "motor" and isinstance(gains[key], list):
                in_motor_order = sorted(order.names, key=lambda name: int(robot.motor_index(JointOrder((name,)))[0]))
                values = self.per_joint(f"gains.{key}", gains[key], JointOrder(tuple(in_motor_order)))
                values = values[JointOrder(tuple(in_motor_order)).index_of(order)]
            else:
                values = self.per_joint(f"gains.{key}", gains[key], order)
            if values.min() < 0 or values.max() > limit:
                raise self.refuse(f"gains.{key}", f"from 0 to {limit} ({robot.name})",
                                  f"{values.min()} to {values.max()}")
            out.append(values)
        return out[0], out[1]

    def factor(self, key: str, order: JointOrder) -> F32 | None:
        """Factors on gains: of some joints by name, of each of the others 1."""
        found = self.data["gains"].get(key)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise self.refuse(f"gains.{key}", "an object: joint name -> factor", f"{found!r}")
        factors = np.ones(len(order), np.float32)
        for name, factor in found.items():
            place = int(order.index_of(JointOrder((name,)))[0])
            factors[place] = self.number(f"gains.{key}.{name}", factor, 0.1, 10)
        return factors

    def held(self, robot: Robot, order: JointOrder) -> dict[str, tuple[float, float, float]]:
        held = self.data.get("held", {})
        rest = [joint.name for joint in robot.joints if joint.name not in order.names]
        if not isinstance(held, dict) or sorted(held) != sorted(rest):
            raise self.refuse(
                "held",
                f"each joint of {robot.name} either in `joints` or in `held` (here {', '.join(rest) or 'none'})",
                (", ".join(held) or "none") if isinstance(held, dict) else f"{held!r}",
            )
        out = {}
        for name, row in held.items():
            self.keys(f"held.{name}", row, {"q", "kp", "kd"}, {"q", "kp", "kd"})
            joint = robot.joints[int(robot.order.index_of(JointOrder((name,)))[0])]
            out[name] = (
                self.number(f"held.{name}.q", row["q"], joint.lower_rad, joint.upper_rad),
                self.number(f"held.{name}.kp", row["kp"], 0, robot.kp_max),
                self.number(f"held.{name}.kd", row["kd"], 0, robot.kd_max),
            )
        return out
