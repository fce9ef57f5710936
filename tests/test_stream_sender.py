"""`exoactor motion stream`: the messages of each protocol, and a sender that is heard."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

pytest.importorskip("zmq", reason="missing dependency: pyzmq")

import exoactor
from export.motion.stream_sender import BadNetwork, command, messages
from runtime.clip import load_clip, make_clip
from runtime.errors import Refused
from runtime.packed_message import ORDER, Command, Decoder, Pose
from runtime.resample import at_rate
from runtime.robot import JointOrder, load_robot
from runtime.stitch import RATE_HZ
from runtime.stream_socket import StreamSocket

G1 = load_robot("g1_29dof")
WALK = load_clip("walk", G1)
FRAMES = len(at_rate(WALK, RATE_HZ).joint_pos)


def carrying() -> object:
    rng, frames = np.random.default_rng(0), len(WALK.joint_pos)
    channels = {"smpl_joints": rng.normal(size=(frames, 72)), "smpl_pose": rng.normal(size=(frames, 63)),
                "smpl_quat_wxyz": WALK.root_quat_wxyz, "token": rng.normal(size=(frames, 64))}
    return make_clip("carrying", WALK.fps, WALK.order, WALK.joint_pos, WALK.root_pos, WALK.root_quat_wxyz, channels)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_every_message_is_one_of_the_protocol(version: int) -> None:
    clip, decoder = carrying(), Decoder()
    sent = list(messages(clip, version))  # type: ignore[arg-type]
    assert len(sent) == FRAMES
    for number in (0, 2, 40, FRAMES - 1):
        pose = decoder.decode(sent[number])
        assert isinstance(pose, Pose) and pose.version == version
        assert pose.frames == (1 if version == 4 else min(number + 1, 5)) and pose.frame_index[-1] == number
    if version == 1:
        joints = at_rate(WALK, RATE_HZ).joint_pos[FRAMES - 1, WALK.order.index_of(JointOrder(ORDER))]
        np.testing.assert_allclose(pose.joint_pos[-1], joints, atol=1e-6)


def test_numbers_go_on_when_a_clip_is_repeated() -> None:
    decoder = Decoder()
    sent = list(messages(WALK, 1, repeat=2))
    poses = [decoder.decode(sent[number]).frame_index.copy() for number in (FRAMES - 1, FRAMES)]  # type: ignore[union-attr]
    assert len(sent) == 2 * FRAMES
    assert [index.tolist() for index in poses] == [list(range(FRAMES - 5, FRAMES)), [FRAMES]]


def test_what_a_clip_does_not_carry_is_refused() -> None:
    with pytest.raises(Refused, match="smpl_joints"):
        next(messages(WALK, 2))
    with pytest.raises(Refused, match="token"):
        next(messages(WALK, 4))
    human = make_clip("h", WALK.fps, WALK.order, WALK.joint_pos, WALK.root_pos, WALK.root_quat_wxyz, joints="wrists")
    with pytest.raises(Refused, match="wrists"):
        next(messages(human, 1))


def test_start_is_a_command() -> None:
    said = Decoder().decode(command(start=True))
    assert isinstance(said, Command) and said.start and not said.stop


def test_a_bad_network_loses_delays_and_repeats_by_its_shares() -> None:
    network = BadNetwork(0.1, 0.05, 0.2, seed=1)
    all_times = [network.departures(k / 50) for k in range(5000)]
    assert np.mean([len(times) == 0 for times in all_times]) == pytest.approx(0.1, abs=0.02)
    assert np.mean([len(times) == 2 for times in all_times]) == pytest.approx(0.18, abs=0.02)
    assert all(0 <= leaves - k / 50 <= 0.05 for k, times in enumerate(all_times) for leaves in times)


@pytest.mark.slow
@pytest.mark.realtime
def test_a_listener_hears_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    heard: list[bytes] = []

    def listen() -> None:
        listener = StreamSocket(address, "pose", None)
        while len(heard) < FRAMES:
            listener.wait(0.5)
            heard.extend(listener.messages(64))
        listener.close()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert exoactor.main(["motion", "stream", "walk", "--to", address, "--start"]) == 0
    thread.join(5)
    decoder = Decoder()
    kinds = [type(decoder.decode(message)) for message in heard]
    assert kinds.count(Command) == 1 and kinds.count(Pose) >= FRAMES - 1
    assert f"{FRAMES} messages" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "found"), [
    (["--to", "tcp://192.168.1.9:5556"], "--key"), (["--to", "udp://x"], "tcp://"),
    (["--to", "tcp://127.0.0.1:5999", "--loss", "2"], "--loss"),
    (["--to", "tcp://127.0.0.1:5998", "--wait", "0.05"], "listener"),
])
def test_what_cannot_be_sent_is_refused(words: list[str], found: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exoactor.main(["motion", "stream", "walk", *words]) == 2
    assert found in capsys.readouterr().err
