"""SONIC's packed messages: what is taken, in either byte order and under either name, and what is named and dropped."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import numpy as np
import pytest

from runtime.channels import ChannelTable
from runtime.clip import load_clip
from runtime.packed_message import HEADER_BYTES, ORDER, Command, Decoder, Planner, Pose, Reject, encode
from runtime.robot import JointOrder, load_robot
from runtime.smpl_wrists import wrists
from runtime.stream_intake import StreamIntake, versions_for
from runtime.stream_root import StreamRoot
from tests.fuzz.stream_targets import run as run_mutants

ROBOT = load_robot("g1_29dof")
MS = 1_000_000


def message(rows: list[tuple[str, str, list[int], Any]], *, v: Any = 1, topic: bytes = b"pose", endian: str = "le",
            **more: Any) -> bytes:
    """Bytes by the protocol's description alone: name, dtype, shape, numbers."""
    kinds = {"f32": "f4", "f64": "f8", "f16": "f2", "i32": "i4", "i64": "i8", "u8": "u1", "bool": "u1"}
    head = {"v": v, "endian": endian, "count": 1,
            "fields": [{"name": name, "dtype": kind, "shape": shape} for name, kind, shape, _ in rows], **more}
    order = "<" if endian == "le" else ">"
    body = b"".join(np.asarray(values).astype(order + kinds[kind]).tobytes() for _, kind, _, values in rows)
    return topic + json.dumps(head).encode().ljust(HEADER_BYTES, b"\0") + body


def v1(frames: int = 2, first: int = 0, *, quat: str = "body_quat", index: str = "frame_index", kind: str = "f32",
       bodies: int = 0) -> list[tuple[str, str, list[int], Any]]:
    joints = np.arange(frames * 29).reshape(frames, 29) * 0.001
    quats = np.tile([1.0, 0, 0, 0], (frames, max(bodies, 1), 1))
    shape = [frames, bodies, 4] if bodies else [frames, 4]
    return [("joint_pos", kind, [frames, 29], joints), ("joint_vel", kind, [frames, 29], joints * 2),
            (quat, kind, shape, quats), (index, "i64", [frames], np.arange(first, first + frames))]


@pytest.mark.parametrize("endian", ["le", "be"])
@pytest.mark.parametrize(("quat", "index"), [("body_quat", "frame_index"), ("body_quat_w", "last_smpl_global_frames")])
@pytest.mark.parametrize(("kind", "bodies"), [("f32", 0), ("f64", 14)])
def test_joints_are_read_in_either_byte_order_under_either_name(
    endian: str, quat: str, index: str, kind: str, bodies: int
) -> None:
    found = Decoder().decode(message(v1(3, 7, quat=quat, index=index, kind=kind, bodies=bodies), endian=endian))
    assert isinstance(found, Pose)
    np.testing.assert_allclose(found.joint_pos, np.arange(87).reshape(3, 29) * 0.001, atol=1e-6)
    np.testing.assert_array_equal(found.frame_index, [7, 8, 9])
    np.testing.assert_array_equal(found.body_quat_wxyz, [[1, 0, 0, 0]] * 3)
    assert found.catch_up, "its default"


def test_the_header_s_count_does_not_count_frames() -> None:
    for count in (1, 2, 5):
        assert isinstance(Decoder().decode(message(v1(5), count=count)), Pose)


def test_a_header_of_1024_bytes_is_no_header() -> None:
    data = message(v1())
    assert isinstance(Decoder().decode(data[: 4 + 1024] + data[4 + HEADER_BYTES :]), Reject)


def _without(name: str) -> list[tuple[str, str, list[int], Any]]:
    return [field for field in v1() if field[0] != name]


@pytest.mark.parametrize(("data", "why"), [
    (b"other" + message(v1())[4:], Reject.TOPIC),
    (message(v1())[:100], Reject.SIZE),
    (b"pose" + b"[" * HEADER_BYTES, Reject.HEADER),
    (b"pose" + b"\xff" * HEADER_BYTES, Reject.HEADER),
    (message(v1(), v=5), Reject.VERSION),
    (message(v1(), v=True), Reject.VERSION),
    (message(v1(), endian="le", count=-1), Reject.COUNT),
    (message(v1(), fields=[]), Reject.FIELDS),
    (message([*v1(), v1()[0]]), Reject.FIELDS),
    (message(v1(), fields=[{"name": "x", "dtype": "c8", "shape": [1]}]), Reject.DTYPE),
    (message(v1(), fields=[{"name": "x", "dtype": "f8", "shape": [10**9]}]), Reject.DTYPE),
    (message(v1(), fields=[{"name": "x", "dtype": "f64", "shape": [4096, 4096]}]), Reject.SIZE),
    (message(v1(), fields=[{"name": "x", "dtype": "f64", "shape": [-1]}]), Reject.SHAPE),
    (message(v1()) + b"x", Reject.LENGTH),
    (message(_without("joint_vel")), Reject.MISSING),
    (message(v1(65)), Reject.SHAPE),
    (message([*_without("frame_index"), ("frame_index", "i64", [3], [0, 1, 2])]), Reject.FRAMES),
    (message([*_without("frame_index"), ("frame_index", "f64", [2], [0, 1])]), Reject.DTYPE),
    (message([*_without("frame_index"), ("frame_index", "i64", [2], [1, 0])]), Reject.VALUE),
    (message([*v1(), ("heading_increment", "f32", [1], [np.nan])]), Reject.VALUE),
    (message([*v1(), ("timestamp_monotonic", "f64", [1], [np.inf])]), Reject.VALUE),
])
def test_what_is_no_message_is_named(data: bytes, why: Reject) -> None:
    assert Decoder().decode(data) is why


def test_tokens_commands_and_planner_messages_are_read() -> None:
    decoder = Decoder()
    token = decoder.decode(message([("token_state", "f32", [64], np.ones(64)), ("body_quat_w", "f32", [4], [1, 0, 0, 0])
                                    ], v=4))
    assert isinstance(token, Pose)
    assert (token.token == 1).all()
    command = decoder.decode(message([("start", "u8", [1], [1]), ("stop", "bool", [], 0)], topic=b"command"))
    assert command == Command(True, False, None)
    planner = decoder.decode(message([("mode", "i32", [1], [2]), ("movement", "f32", [3], [1, 0, 0]),
                                      ("facing", "f32", [3], [0, 1, 0])], topic=b"planner"))
    assert planner == Planner(2, (1, 0, 0), (0, 1, 0), -1.0, -1.0)


def test_our_encoder_is_read_by_our_decoder() -> None:
    fields = {name: np.asarray(values, {"f32": np.float32, "i64": np.int64}[kind]).reshape(shape)
              for name, kind, shape, values in v1()}
    assert isinstance(Decoder().decode(encode("pose", 1, fields)), Pose)


def test_mutants_are_named_and_never_raise() -> None:
    draw = random.Random(1)
    decoder, seed = Decoder(), message(v1())
    for _ in range(3000):
        data = bytearray(seed)
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(300 if draw.random() < 0.7 else len(data))
            data[place] = draw.choice(b'0123456789{}[]",:ef-\0\xff')
        decoder.decode(bytes(data[: draw.randint(0, len(data))] if draw.random() < 0.2 else data))


class Inlet:
    """An intake and what it pushed: (source_ns, received_ns, first joint, form)."""

    def __init__(self, channels: ChannelTable | None = None) -> None:
        self.rows: list[Any] = []
        self.intake = StreamIntake(ROBOT, channels or ChannelTable(), np.zeros(29), 0.8,
                                   lambda record: self.rows.append(record[0].copy()))

    def send(self, first: int, frames: int = 1, at_ms: float = 0.0, **more: Any) -> None:
        self.intake.take(message(v1(frames, first), **more), 10**10 + round(at_ms * MS))

    def settle(self) -> Inlet:
        for i in range(60):
            self.send(i, at_ms=20 * i)
        return self


def test_joints_go_to_the_robot_s_table_by_name() -> None:
    inlet = Inlet().settle()
    for i, joint in enumerate(ROBOT.order.names):
        assert inlet.rows[-1]["joint_pos"][i] == pytest.approx(0.001 * ORDER.index(joint), abs=1e-6)


def test_repeated_and_overtaken_frames_find_their_place_and_a_lost_one_comes_with_the_window() -> None:
    inlet = Inlet().settle()
    count = len(inlet.rows)
    inlet.send(59, at_ms=1190)
    assert (len(inlet.rows), inlet.intake.counts["repeated"]) == (count, 1)
    inlet.send(61, at_ms=1221)
    inlet.send(60, at_ms=1223)
    assert inlet.intake.counts["overtaken"] == 1
    times = [int(row["source_ns"]) for row in inlet.rows[-2:]]
    assert 18 * MS < times[0] - times[1] < 22 * MS
    inlet.send(60, 5, at_ms=1280)  # a rolling window: 62, 63 and 64 are new
    assert [int(row["source_ns"]) > times[0] for row in inlet.rows[-3:]] == [True] * 3


def test_an_overtaken_frame_is_where_the_root_was_then_and_not_where_it_is() -> None:
    """Placed at the newest frame it doubles one step and reverses the next."""
    inlet, clip = Inlet(), load_clip("walk", ROBOT)
    rows = clip.joint_pos[:, clip.order.index_of(JointOrder(ORDER))]
    order = [*range(100), 101, 100, *range(102, 110)]
    for at, i in enumerate(order):
        fields = {"joint_pos": rows[i][None], "joint_vel": np.zeros((1, 29)), "body_quat": clip.root_quat_wxyz[i][None],
                  "frame_index": np.array([i])}
        inlet.intake.take(encode("pose", 1, fields), 10**10 + 20 * at * MS)
    before, newer, late = (inlet.rows[k]["root_pos"] for k in (-11, -10, -9))
    np.testing.assert_allclose(late, (before + newer) / 2, atol=1e-6)
    assert np.linalg.norm(newer - before) > 0.01


@pytest.mark.parametrize("clip", ["walk", "walk_fast", "walk_sideways", "walk_backwards"])
def test_a_root_told_from_the_feet_goes_as_fast_as_the_motion_s_own(clip: str) -> None:
    motion, root = load_clip(clip, ROBOT), StreamRoot(ROBOT, 0.8)
    places = np.array([root.advance(q, quat)[:2].copy() for q, quat in zip(
        motion.joint_pos[:, motion.order.index_of(ROBOT.order)], motion.root_quat_wxyz, strict=True)])
    off = (places[4:] - places[:-4]) * motion.fps / 4 - motion.root_vel[2:-2, :2]
    assert np.sqrt((off**2).mean()) < 0.02, "an old foot that lifts is no longer believed"
    assert np.linalg.norm(places[-1]) == pytest.approx(np.linalg.norm((motion.root_pos[-1] - motion.root_pos[0])[:2]),
                                                       rel=0.02)


@pytest.mark.parametrize("period_ms", [20.0, 21.0, 33.3, 10.0])
def test_the_sender_s_own_rate_is_followed(period_ms: float) -> None:
    inlet, draw = Inlet(), random.Random(3)
    for i in range(600):
        inlet.send(i, at_ms=period_ms * i + draw.uniform(0, 8))
    late = inlet.rows[-200:]
    steps = np.diff([int(row["source_ns"]) for row in late]) / MS
    assert steps.mean() == pytest.approx(period_ms, rel=0.01)
    behind = [(int(row["received_ns"]) - int(row["source_ns"])) / MS for row in late]
    assert max(abs(b) for b in behind) < 12


def test_numbers_that_begin_anew_go_on_in_time() -> None:
    inlet = Inlet().settle()
    for i in range(30):
        inlet.send(i, at_ms=1200 + 20 * i)
    assert inlet.intake.counts["restarts"] == 1
    times = [int(row["source_ns"]) for row in inlet.rows]
    assert all(b > a for a, b in itertools.pairwise(times))


def test_another_version_says_so_once_and_is_not_read() -> None:
    inlet = Inlet().settle()
    inlet.intake.take(message([("token_state", "f32", [64], np.ones(64))], v=4), 10**10 + 1200 * MS)
    assert inlet.rows[-1]["form"] == 0
    assert np.isnan(inlet.rows[-1]["joint_pos"]).all()
    assert inlet.intake.counts["other version"] == 1


def test_what_a_controller_reads_decides_on_the_versions() -> None:
    assert versions_for(ChannelTable()) == (1,)
    assert versions_for(ChannelTable(["smpl_joints", "smpl_quat_wxyz"])) == (2, 3)
    assert versions_for(ChannelTable(["token"])) == (4,)


def test_wrists_come_from_the_human_s_and_a_straight_arm_is_no_trap() -> None:
    assert wrists(np.zeros(63)) == pytest.approx((0,) * 6)
    pose = np.zeros((21, 3))
    pose[19], pose[20] = (0.3, 0, 0), (0, 0.2, 0)
    assert wrists(pose.reshape(-1)) == pytest.approx((0.3, 0, 0, -0.2, 0, 0), abs=1e-9)
    pose[:] = 0
    pose[17] = 0, 1.2, 0  # a twist alone turns no wrist
    assert wrists(pose.reshape(-1)) == pytest.approx((0,) * 6, abs=1e-9)


def test_mutated_streams_are_taken_or_counted() -> None:
    taken, _ = run_mutants(4000)
    assert 100 < taken < 4000
