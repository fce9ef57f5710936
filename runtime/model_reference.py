"""The motion inside a network, read out once and then played like any other reference.

The rows are constants, so they are asked for before the run instead of being taken from the tick before: the same
numbers, and their number is known. That they do not depend on the observation is checked.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.backend import LoadedModel
from runtime.bodies import Chain
from runtime.controller import Controller
from runtime.embedded import Embedded
from runtime.errors import Refused
from runtime.manifest import Manifest
from runtime.needs import terms_of
from runtime.reference import ReferenceFrame

F64 = npt.NDArray[np.float64]
FAR = 1 << 20
"""A step beyond the end of any motion, exact in float32: a network that clamps answers with its last row."""
MOST_ROWS = 1 << 16
"""22 minutes at 50 Hz."""
READABLE = {"ref_joint_pos", "ref_joint_pos_rel", "ref_joint_vel", "ref_anchor_ori", "ref_roll_pitch",
            "ref_projected_gravity", "ref_root_height"}
"""Reference terms that a motion inside a network can feed."""


class ModelReference:
    """A `ReferenceSource` over the rows of a network, in the controller's joint order.

    Attributes:
        rows: how many there are.
        play_s: long enough that the last row is shown.

    Raises:
        Refused: the network has no such tensors, or of other sizes; its rows change with the observation, or do not
            end; the manifest asks for what it does not hold.
    """

    def __init__(self, controller: Controller, embedded: Embedded) -> None:
        manifest = controller.manifest
        _check_terms(manifest, embedded)
        self._embedded, self._rate_hz = embedded, manifest.rate_hz
        table = _Table(manifest, embedded, controller.model)
        rows = table.read()
        n = len(manifest.order)
        self.rows = len(rows)
        self._joint_pos, self._joint_vel = rows[:, :n], rows[:, n : 2 * n]
        self._root_quat, self._height = self._roots(manifest, table, rows[:, 2 * n :])
        self.play_s = (self.rows + embedded.lag) / manifest.rate_hz
        controller.last_row = self.rows - 1

    @staticmethod
    def _roots(manifest: Manifest, table: _Table, rest: F64) -> tuple[F64, F64]:
        """Orientation of the base, from that of the anchor, and its height (NaN where the rows lack it)."""
        chain = Chain(manifest.robot.bodies, manifest.anchor, manifest.order.names)
        n = len(manifest.order)
        quat = np.empty((len(rest), 4))
        for row, (anchor, joints) in enumerate(zip(table.anchor_quat(rest), table.joints, strict=True)):
            quat[row] = rotation.multiply(anchor, rotation.conjugate(chain.orientation(joints[:n])))
        return quat, table.base_height(rest)

    def sample(self, time_s: float, out: ReferenceFrame) -> None:
        """The row that the observation of this time shows; clamped at both ends."""
        row = min(max(round(time_s * self._rate_hz) - self._embedded.lag, 0), self.rows - 1)
        out.joint_pos[:], out.joint_vel[:] = self._joint_pos[row], self._joint_vel[row]
        out.root_quat_wxyz[:] = self._root_quat[row]
        out.root_rpy[:] = rotation.roll_pitch_yaw(out.root_quat_wxyz)
        out.root_pos[:] = (0, 0, self._height[row])
        out.root_lin_vel[:] = 0
        out.root_ang_vel[:] = 0


class _Table:
    """Rows of a network: joint_pos, joint_vel, quaternions, positions, all outputs flat behind each other."""

    def __init__(self, manifest: Manifest, embedded: Embedded, model: LoadedModel) -> None:
        self._manifest, self._embedded, self._model = manifest, embedded, model
        self._what = f"model of {manifest.name}"
        names = [embedded.joint_pos, embedded.joint_vel, embedded.quat]
        names += [] if embedded.position is None else [embedded.position]
        missing = [name for name in names if name not in model.outputs]
        if missing or embedded.time_step not in model.inputs:
            raise self._refuse(f"input {embedded.time_step}, outputs {', '.join(names)}",
                               f"inputs {', '.join(model.inputs)}, outputs {', '.join(model.outputs)}")
        n, bodies = len(manifest.order), len(embedded.bodies) or 1
        for name, size in zip(names, (n, n, 4 * bodies, 3 * bodies), strict=False):
            if model.outputs[name].size != size:
                raise self._refuse(f"output {name} of {size} numbers", f"{model.outputs[name].size}")
        if embedded.bodies and manifest.anchor not in embedded.bodies:
            raise self._refuse(f"reference.body among reference.bodies ({', '.join(embedded.bodies)})", manifest.anchor)
        self._outputs = [model.outputs[name] for name in names]
        self._step = model.inputs[embedded.time_step]
        self.joints = np.zeros((0, n))

    def read(self) -> F64:
        """(rows, numbers) float64. The network's buffers are zero afterwards."""
        model = self._model
        others = [array for name, array in model.inputs.items() if name != self._embedded.time_step]
        generator = np.random.default_rng(0)
        first = self._row(0)
        for array in others:
            array[...] = generator.normal(size=array.shape)
        if not (self._row(0) == first).all():
            raise self._refuse("reference outputs that depend on the time step alone", "others for another observation")
        for array in others:
            array[...] = 0
        rows = self._all_rows()
        for array in (self._step, *model.outputs.values()):
            array[...] = 0
        if not np.isfinite(rows).all():
            raise self._refuse("finite reference rows", "NaN or infinity")
        self.joints = rows[:, : len(self._manifest.order)]
        return rows

    def _all_rows(self) -> F64:
        """Every row until they stop changing, or until the network refuses a step."""
        last = self._try(FAR)
        found: list[F64] = []
        while len(found) < MOST_ROWS:
            row = self._try(len(found)) if last is None else self._row(len(found))
            if row is None:
                break
            found.append(row)
            size = len(found)
            # Looked at when the number doubles: a motion that pauses as it will end is not taken for its end.
            if last is not None and size & (size - 1) == 0 and (row == last).all() and (
                self._row(2 * size) == last
            ).all():
                break
        else:
            raise self._refuse(f"a motion of less than {MOST_ROWS} control periods", "rows that go on changing")
        rows = np.array(found)
        if last is None:
            return rows
        changing = np.flatnonzero((rows != last).any(axis=1))
        return rows[: changing[-1] + 2] if len(changing) else rows[:1]

    def _row(self, step: int) -> F64:
        self._step[...] = step
        self._model.run()
        return np.concatenate([output.reshape(-1) for output in self._outputs]).astype(np.float64)

    def _try(self, step: int) -> F64 | None:
        try:
            return self._row(step)
        except Exception:  # a table that is not clamped: the runtimes raise families of their own
            return None

    def anchor_quat(self, rest: F64) -> F64:
        """(rows, 4) w, x, y, z, unit, of the anchor; `rest` are the columns behind the joints'."""
        embedded = self._embedded
        place = embedded.bodies.index(self._manifest.anchor) if embedded.bodies else 0
        quat = rest[:, 4 * place : 4 * place + 4]
        if embedded.quat_order == "xyzw":
            quat = quat[:, [3, 0, 1, 2]]
        norm = np.linalg.norm(quat, axis=1, keepdims=True)
        if (np.abs(norm - 1) > 1e-2).any():
            raise self._refuse("unit quaternions within 0.01", f"norms from {norm.min():.3f} to {norm.max():.3f}")
        return np.asarray(quat / norm)

    def base_height(self, rest: F64) -> F64:
        """(rows,) m; NaN where the base's position is not among the outputs."""
        embedded, bodies = self._embedded, self._manifest.robot.bodies
        names = embedded.bodies or (self._manifest.anchor,)
        place = next((i for i, name in enumerate(names) if bodies.get(name) == ()), None)
        if embedded.position is None or place is None:
            return np.full(len(rest), np.nan)
        return np.asarray(rest[:, 4 * len(names) + 3 * place + 2])

    def _refuse(self, expected: str, found: str) -> Refused:
        return Refused(self._what, expected=expected, found=found,
                       what_to_do="correct `reference` in the manifest (docs/controllers.md)")


def _check_terms(manifest: Manifest, embedded: Embedded) -> None:
    used = {term["term"] for term, _ in terms_of(manifest.inputs) if term["term"].startswith("ref_")}
    readable = READABLE if embedded.position is not None else READABLE - {"ref_root_height"}
    beyond = sorted(used - readable)
    if beyond:
        raise Refused(f"manifest of {manifest.name}", expected=f"of the reference only {', '.join(sorted(readable))}",
                      found=", ".join(beyond), what_to_do="a motion inside a network holds no more than its outputs")


def refuse_other_motion(manifest: Manifest, clip: str | None, command: tuple[float, float, float]) -> None:
    """A controller whose motion is inside takes no other, and no velocity command."""
    if clip is not None:
        raise Refused(f"controller {manifest.name}", expected="no --clip: its motion is inside the network",
                      found=f"--clip {clip}", what_to_do="leave --clip out, or choose a tracker that follows clips")
    if any(command):
        raise Refused(f"controller {manifest.name}", expected="no --command: its motion is inside the network",
                      found=f"--command {command}", what_to_do="leave --command out")
