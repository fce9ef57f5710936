"""A recorder of SONIC's output topics, written from the protocol's description alone, beside a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

zmq = pytest.importorskip("zmq", reason="missing dependency: pyzmq")
msgpack = pytest.importorskip("msgpack", reason="missing dependency: msgpack")
pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from tests.live_run import LiveRun
from tests.sonic_output import CONFIG, DEBUG, LATER

pytestmark = pytest.mark.realtime
DOMAIN = 109


@pytest.mark.slow
def test_a_recorder_hears_each_control_tick_and_the_configuration(tmp_path: Path) -> None:
    probe = zmq.Context.instance().socket(zmq.PUB)
    address = f"tcp://127.0.0.1:{probe.bind_to_random_port('tcp://127.0.0.1')}"
    probe.close(0)
    recorder = zmq.Context.instance().socket(zmq.SUB)
    for topic in (b"g1_debug", b"robot_config"):
        recorder.setsockopt(zmq.SUBSCRIBE, topic)
    recorder.connect(address)
    heard: dict[str, list[tuple[float, dict[str, Any]]]] = {"g1_debug": [], "robot_config": []}
    with LiveRun(tmp_path / "run", "--domain", DOMAIN, "--no-realtime", "--duration", 3, "--stream-out",
                 address) as run:
        while run.process.poll() is None:
            if recorder.poll(100):
                message = recorder.recv()
                topic = next(name for name in heard if message.startswith(name.encode()))
                heard[topic].append((time.monotonic(), msgpack.unpackb(message[len(topic):])))
        run.finish(60)
    recorder.close(0)
    assert run.report["outcome"] == "done", run.report
    times, ticks = zip(*heard["g1_debug"], strict=True)
    for tick in ticks:
        assert set(tick) in (set(DEBUG), set(DEBUG) - LATER)
        assert all(length is None or len(tick[key]) == length for key, length in DEBUG.items() if key in tick)
    assert set(ticks[-1]) == set(DEBUG)
    index = np.array([tick["index"] for tick in ticks])
    assert (np.diff(index) >= 1).all() and len(index) > 0.9 * (index[-1] - index[0])
    assert np.diff(times).mean() == pytest.approx(0.02, rel=0.1)
    assert np.abs(np.array(ticks[-1]["body_q"])).max() > 0.1
    assert len(heard["robot_config"]) >= 2
    for _, config in heard["robot_config"]:
        assert {key: type(value) for key, value in config.items()} == CONFIG
        assert config["control_frequency"] == 50 and config["reference_motion_path"] == "walk"
