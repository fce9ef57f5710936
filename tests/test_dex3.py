"""Dex3-1 hands over DDS: ours with ours, and both with C programs built from Unitree's IDL on libddsc 0.10.

The C hand has nine tactile sensors of a kind we do not describe: what stands behind the motors must not matter.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from select import select

import numpy as np
import pytest

from export.recorder import settings_for
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.dex3 import COMMAND_TOPICS, HAND_CMD, HAND_STATE, STATE_TOPICS, WATCHDOG, Dex3Bus
from firmware_bridge.dex3_robot import DdsHands
from firmware_bridge.hand_bus import LEFT, RIGHT
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE
from firmware_bridge.motor_bus import Reading
from firmware_bridge.simulated_hands import read_hand_table
from runtime.errors import Refused
from runtime.faults import Mode
from runtime.gate_hands import GateHands
from runtime.hand import KEEP, hand_path, load_hand
from runtime.hand_gate import HandGate
from runtime.hand_slots import hand_ring, order_slot
from runtime.log_file import read_log
from runtime.records import hand_order_dtype
from tests.test_dds_peers import SDK_CONFIG, eventually, idl_of, running, stock_folder

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).resolve().parents[1]
DOMAIN, HAND_DOMAIN, CONTROLLER_DOMAIN, RUN_DOMAIN = 64, 65, 66, 67
DEX3 = load_hand("dex3-1")

IDL = """
module unitree_hg { module msg { module dds_ {
@final struct PressSensorState_ { float pressure[12]; float temperature[12]; unsigned long lost; unsigned long more; };
@final struct HandCmd_ { sequence<MotorCmd_> motor_cmd; unsigned long reserve[4]; };
@final struct HandState_ { sequence<MotorState_> motor_state; sequence<PressSensorState_> press_sensor_state;
  IMUState_ imu_state; float power_v; float power_a; float system_v; float device_v; unsigned long error[2];
  unsigned long reserve[2]; };
}; }; };
"""

PEER = r"""
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dds/dds.h"
#include "hand.h"

typedef unitree_hg_msg_dds__HandCmd_ Cmd;
typedef unitree_hg_msg_dds__HandState_ State;

/* "robot": a left hand that is where it is told to be. "controller": tells a left hand, prints where it is. */
int main(int argc, char **argv)
{
  const int robot = argc == 4 && !strcmp(argv[1], "robot");
  const uint32_t domain = (uint32_t) atoi(argv[2]);
  if (dds_create_domain(domain, argv[3]) < 0) return 2;
  dds_entity_t p = dds_create_participant(domain, NULL, NULL);
  dds_entity_t tc = dds_create_topic(p, &unitree_hg_msg_dds__HandCmd__desc, "rt/dex3/left/cmd", NULL, NULL);
  dds_entity_t ts = dds_create_topic(p, &unitree_hg_msg_dds__HandState__desc, "rt/dex3/left/state", NULL, NULL);
  dds_entity_t r = dds_create_reader(p, robot ? tc : ts, NULL, NULL);
  dds_entity_t w = dds_create_writer(p, robot ? ts : tc, NULL, NULL);
  if (p < 0 || tc < 0 || ts < 0 || r < 0 || w < 0) return 3;
  printf("ready\n");
  fflush(stdout);
  static State state;
  static Cmd cmd;
  state.motor_state._buffer = calloc(7, sizeof *state.motor_state._buffer);
  state.motor_state._length = state.motor_state._maximum = 7;
  state.press_sensor_state._buffer = calloc(9, sizeof *state.press_sensor_state._buffer);
  state.press_sensor_state._length = state.press_sensor_state._maximum = 9;
  cmd.motor_cmd._buffer = calloc(7, sizeof *cmd.motor_cmd._buffer);
  cmd.motor_cmd._length = cmd.motor_cmd._maximum = 7;
  dds_sample_info_t info;
  struct pollfd stdin_closed = { .fd = 0, .events = POLLIN };
  while (poll(&stdin_closed, 1, 2) == 0)
  {
    void *in = NULL;
    if (!robot)
    {
      for (uint8_t i = 0; i < 7; i++)
      {
        cmd.motor_cmd._buffer[i].mode = i | 1 << 4;
        cmd.motor_cmd._buffer[i].q = 0.1f * i;
        cmd.motor_cmd._buffer[i].kp = 1.5f;
        cmd.motor_cmd._buffer[i].kd = 0.1f;
      }
      if (dds_write(w, &cmd) < 0) return 4;
    }
    const int taken = dds_take(r, &in, &info, 1, 1) == 1 && info.valid_data;
    if (robot)
    {
      for (int i = 0; taken && i < 7; i++)
      {
        const Cmd *told = in;
        if (told->motor_cmd._length != 7) return 5;
        state.motor_state._buffer[i].mode = told->motor_cmd._buffer[i].mode;
        state.motor_state._buffer[i].q = told->motor_cmd._buffer[i].q;
        state.motor_state._buffer[i].tau_est = told->motor_cmd._buffer[i].kp;
      }
      state.motor_state._buffer[6].temperature[1] = 41;
      if (dds_write(w, &state) < 0) return 6;
    }
    else if (taken)
    {
      const State *seen = in;
      printf("%u %.3f %.3f\n", seen->motor_state._length, seen->motor_state._buffer[2].q,
             seen->motor_state._buffer[6].tau_est);
      fflush(stdout);
    }
    if (in) dds_return_loan(r, &in, 1);
  }
  return dds_delete(p) < 0 ? 7 : 0;
}
"""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = stock_folder(tmp_path_factory, "hand")
    (folder / "hand.idl").write_text(idl_of(HG_LOW_CMD.struct, HG_LOW_STATE.struct) + IDL)
    (folder / "peer.c").write_text(PEER)
    for command in ("idlc hand.idl", "gcc -o peer peer.c hand.c -lddsc"):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, text=True)
    return folder / "peer"


class Written:
    """A gate's part for hands that writes what it is told, paced."""

    def __init__(self, bus: Dex3Bus) -> None:
        self.gate = HandGate(DEX3, bus, 500, KEEP)
        self.order = np.zeros(1, hand_order_dtype(7))

    def tick(self) -> None:
        time.sleep(0.002)
        self.order["made_ns"] = time.monotonic_ns()
        self.gate.tick(time.monotonic_ns(), Mode.TRACK, self.order)


def test_a_stock_hand_with_sensors_is_heard_and_obeys(peer: Path) -> None:
    with running(peer, "robot", HAND_DOMAIN, SDK_CONFIG):
        bus = Dex3Bus(DdsSettings(HAND_DOMAIN))
        written = Written(bus)
        eventually(lambda: written.tick() or written.gate.heard[LEFT], "no HandState")
        assert bus.sample.temperature_c[LEFT].tolist() == [0] * 6 + [41]
        written.order["state"][0], written.order["sequence"] = (2, -1), 1
        closed = DEX3.states_rad[2, LEFT]
        eventually(lambda: written.tick() or np.abs(bus.sample.q[LEFT] - closed).max() < 1e-3, "the hand did not close")
        assert np.allclose(bus.sample.tau[LEFT], DEX3.kp)
        assert written.gate.heard == [True, False]
        bus.close()


@pytest.fixture
def hands() -> Iterator[DdsHands]:
    hands = DdsHands(read_hand_table(hand_path("dex3-1")), DdsSettings(CONTROLLER_DOMAIN))
    yield hands
    hands.close()


def test_a_stock_controller_moves_our_simulated_hand(peer: Path, hands: DdsHands) -> None:
    with running(peer, "controller", CONTROLLER_DOMAIN, SDK_CONFIG) as stock:
        output = stock.stdout
        assert output is not None

        def moved() -> bool:
            hands.tick()
            time.sleep(0.002)
            while select([output], [], [], 0)[0]:
                count, q, _ = output.readline().split()
                if count == "7" and abs(float(q) - 0.2) < 0.01:
                    return True
            return False

        eventually(moved, "the controller did not see the hand where it told it to be")
        assert hands.dropped == [0, 0]
        assert hands.hands.written[RIGHT] == 0


def test_each_side_hears_its_own_topic_only(hands: DdsHands) -> None:
    bus = Dex3Bus(DdsSettings(CONTROLLER_DOMAIN))
    hands.hands.connected[LEFT] = False
    hands.hands.sample.q[RIGHT] = 0.5

    def heard() -> bool:
        hands.tick()
        time.sleep(0.002)
        return bus.read(RIGHT) is Reading.NEW

    eventually(heard, "nothing from the right hand")
    assert bus.read(LEFT) is Reading.NONE
    assert not bus.sample.q[LEFT].any()
    assert (bus.sample.q[RIGHT][3:] > 0.4).all()
    bus.close()


def test_a_command_before_the_writers_are_open_is_not_sent_and_others_are_seen(hands: DdsHands) -> None:
    bus = Dex3Bus(DdsSettings(CONTROLLER_DOMAIN))
    gate = HandGate(DEX3, bus, 500, KEEP)
    assert not bus.write(LEFT, gate._enforcer.command)
    with Participant(DdsSettings(CONTROLLER_DOMAIN), "rival") as rival:
        rival.writer(COMMAND_TOPICS[LEFT], HAND_CMD)
        eventually(lambda: len(bus.other_writers(LEFT)) == 1, "the other writer was not seen")
        assert bus.other_writers(RIGHT) == []
    bus.close()


def test_a_watchdog_that_has_run_out_is_cleared(hands: DdsHands) -> None:
    """A state whose mode byte has bit 7 wants commands with a 0 there, once, or the drives stay limp."""
    bus = Dex3Bus(DdsSettings(CONTROLLER_DOMAIN))
    written = Written(bus)
    decoder = hands._decoders[LEFT]

    def both() -> None:
        hands.tick()
        written.tick()

    eventually(lambda: both() or (hands.hands.written[LEFT] > 0 and decoder.has_watchdog), "no command with a watchdog")
    modes = HAND_STATE.view(hands._states[LEFT].buffer, "motor_state.mode")
    modes[3] |= WATCHDOG
    eventually(lambda: both() or not decoder.has_watchdog, "the watchdog was not cleared")
    modes[3] &= 0x7F
    eventually(lambda: both() or decoder.has_watchdog, "the watchdog was not switched on again")
    bus.close()


def test_a_state_of_another_number_of_motors_is_rejected() -> None:
    with Participant(DdsSettings(DOMAIN), "odd hand") as odd:
        writer = odd.writer(STATE_TOPICS[LEFT], HAND_STATE)
        HAND_STATE.view(writer.buffer, "count")[0] = 6
        HAND_STATE.view(writer.buffer, "motor_state.q")[:] = 9
        bus = Dex3Bus(DdsSettings(DOMAIN))
        readings: list[Reading] = []

        def came() -> bool:
            writer.write()
            time.sleep(0.005)
            readings.append(bus.read(LEFT))
            return readings[-1] is not Reading.NONE

        eventually(came, "nothing came")
        assert readings[-1] is Reading.REJECTED
        assert not bus.sample.q.any()
        bus.close()


# --- In the gate's process --------------------------------------------------------------------------------------------


def gate_hands(folder: Path, domain: int, **changes: object) -> GateHands:
    settings = replace(settings_for("g1-tracker", clip="walk", out=str(folder)), domain=domain, shared=str(folder),
                       run=7, hands=str(hand_path("dex3-1")), hands_on_damp=KEEP, **changes)  # type: ignore[arg-type]
    order_slot(folder, 7, DEX3, create=True)
    hand_ring(folder, 7, DEX3, create=True)
    return GateHands(settings)


def test_without_hands_a_run_goes_on_with_one_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hands = gate_hands(tmp_path, DOMAIN)
    hands.connect()
    for tick in range(1000):
        hands.tick(tick * 2_000_000, Mode.TRACK)
    hands.close()
    (line,) = capfd.readouterr().out.splitlines()
    assert "no left and right dex3-1 hand is heard" in line


def test_without_hands_a_run_that_requires_them_is_refused(tmp_path: Path) -> None:
    hands = gate_hands(tmp_path, DOMAIN, hands_required=True)
    with pytest.raises(Refused, match="nothing from the left and right"):
        hands.connect()
    hands.close()


def test_hands_that_somebody_else_commands_are_refused(tmp_path: Path) -> None:
    with Participant(DdsSettings(DOMAIN), "rival") as rival:
        rival.writer(COMMAND_TOPICS[RIGHT], HAND_CMD)
        hands = gate_hands(tmp_path, DOMAIN)
        with pytest.raises(Refused, match="right hand"):
            hands.connect()
        hands.close()


def test_a_bug_about_hands_costs_the_hands_and_not_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hands = gate_hands(tmp_path, DOMAIN)

    def crash(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(HandGate, "tick", crash)
    for _ in range(3):
        hands.tick(0, Mode.TRACK)
    hands.close()
    (line,) = capfd.readouterr().out.splitlines()
    assert "hands are left alone from here on: ZeroDivisionError: a bug" in line


@pytest.mark.slow
def test_a_run_tells_the_hands_of_its_simulated_robot(tmp_path: Path) -> None:
    actions = [{"clip": "walk", "end_s": 1.5, "hands": [
        {"hand": "both", "state": "closed", "at_s": 0.2}, {"hand": "left", "state": "half-open", "at_s": 0.9}]}]
    (tmp_path / "chain.json").write_text(json.dumps({"format": "exoactor-chain/1", "actions": actions}), "utf-8")
    words = ["run", "--chain", str(tmp_path / "chain.json"), "--hands", "dex3-1,required", "--domain", str(RUN_DOMAIN),
             "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", "exoactor", *words], cwd=ROOT, capture_output=True, text=True,
                          check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    hands = report["hands"]
    assert hands["events_told"] == 3
    assert hands["connected"] == {"left": True, "right": True}
    assert hands["last_state"] == {"left": "half-open", "right": "closed"}
    rows = read_log(tmp_path / "out" / "log.mcap").topics["hands"]
    assert np.abs(rows["q"][-1] - [DEX3.states_rad[1, LEFT], DEX3.states_rad[2, RIGHT]]).max() < 0.05
