"""Exchange with programs as Unitree's users build them: C, types from IDL, libddsc 0.10, the SDK's settings.

The peer survives (a typed cyclonedds-python 11 endpoint would kill it) and data flows in both directions.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import pytest

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE, Struct

pytestmark = pytest.mark.realtime

LOWSTATE, LOWCMD = "rt/lowstate", "rt/lowcmd"
ROBOT_DOMAIN, CONTROLLER_DOMAIN, UNICAST_DOMAIN = 61, 62, 63
PATIENCE_S = 15.0

SDK_GENERAL = (
    '<General><Interfaces><NetworkInterface name="lo" priority="default" multicast="default"/></Interfaces>'
    "</General>"
)
SDK_CONFIG = f'<CycloneDDS><Domain Id="any">{SDK_GENERAL}</Domain></CycloneDDS>'
UNICAST_CONFIG = (
    '<CycloneDDS><Domain Id="any"><General><AllowMulticast>false</AllowMulticast><Interfaces>'
    '<NetworkInterface name="lo"/></Interfaces></General>'
    "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery></Domain></CycloneDDS>'
)

IDL_TYPE = {"u8": "octet", "i16": "short", "u16": "unsigned short", "i32": "long", "u32": "unsigned long",
            "f32": "float"}

PEER = r"""
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dds/dds.h"
#include "hg.h"

typedef unitree_hg_msg_dds__LowCmd_ Cmd;
typedef unitree_hg_msg_dds__LowState_ State;

/* "robot" answers each LowCmd by a LowState; "controller" sends LowCmd and prints the LowState it gets. */
int main(int argc, char **argv)
{
  const int robot = argc == 4 && !strcmp(argv[1], "robot");
  const uint32_t domain = (uint32_t) atoi(argv[2]);
  if (dds_create_domain(domain, argv[3]) < 0) return 2;
  dds_entity_t p = dds_create_participant(domain, NULL, NULL);
  dds_entity_t tc = dds_create_topic(p, &unitree_hg_msg_dds__LowCmd__desc, "rt/lowcmd", NULL, NULL);
  dds_entity_t ts = dds_create_topic(p, &unitree_hg_msg_dds__LowState__desc, "rt/lowstate", NULL, NULL);
  dds_entity_t r = dds_create_reader(p, robot ? tc : ts, NULL, NULL);
  dds_entity_t w = dds_create_writer(p, robot ? ts : tc, NULL, NULL);
  if (p < 0 || tc < 0 || ts < 0 || r < 0 || w < 0) return 3;
  printf("ready\n");
  fflush(stdout);
  static Cmd cmd;
  static State state;
  void *in = robot ? (void *) &cmd : (void *) &state;
  dds_sample_info_t info;
  struct pollfd stdin_closed = { .fd = 0, .events = POLLIN };
  for (uint32_t i = 1; poll(&stdin_closed, 1, robot ? 1 : 5) == 0; i++)
  {
    if (!robot)
    {
      cmd.motor_cmd[28].mode = 1;
      cmd.motor_cmd[28].q = 0.5f;
      cmd.reserve[0] = i;
      if (dds_write(w, &cmd) < 0) return 4;
    }
    if (dds_take(r, &in, &info, 1, 1) != 1 || !info.valid_data) continue;
    if (robot)
    {
      state.tick = cmd.reserve[0];
      state.mode_machine = cmd.mode_machine;
      state.motor_state[28].mode = cmd.motor_cmd[28].mode;
      state.motor_state[28].q = cmd.motor_cmd[28].q;
      state.wireless_remote[39] = 39;
      state.crc = cmd.crc;
      if (dds_write(w, &state) < 0) return 5;
    }
    else
    {
      printf("%u %u %.3f %u\n", state.tick, state.motor_state[28].mode, state.motor_state[28].q, state.crc);
      fflush(stdout);
    }
  }
  return dds_delete(p) < 0 ? 6 : 0;
}
"""


def idl_of(*types: Struct) -> str:
    """IDL of the types and of all that they contain, in the modules their names tell."""
    structs: dict[str, str] = {}

    def declare(struct: Struct) -> str:
        name = struct.type_name.split("::")[-1]
        lines = []
        for member in struct.members:
            kind = declare(member.kind) if isinstance(member.kind, Struct) else IDL_TYPE[member.kind]
            array = "" if member.length is None else f"[{member.length}]"
            lines.append(f"{kind} {member.name}{array};")
        structs.setdefault(name, f"@final struct {name} {{ {' '.join(lines)} }};")
        return name

    for struct in types:
        declare(struct)
    return "module unitree_hg { module msg { module dds_ {\n" + "\n".join(structs.values()) + "\n}; }; };\n"


def stock_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """Where a stock C peer may be built; skips without the tools for it."""
    missing = [tool for tool in ("gcc", "idlc") if not shutil.which(tool)]
    if missing:
        needed = "Debian: gcc, cyclonedds-dev, cyclonedds-tools"
        pytest.skip(f"missing dependency: {' and '.join(missing)} for a stock C peer ({needed})")
    return tmp_path_factory.mktemp(name)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = stock_folder(tmp_path_factory, "peer")
    (folder / "hg.idl").write_text(idl_of(HG_LOW_CMD.struct, HG_LOW_STATE.struct))
    (folder / "peer.c").write_text(PEER)
    for command in ("idlc hg.idl", "gcc -o peer peer.c hg.c -lddsc"):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, text=True)
    return folder / "peer"


@contextmanager
def running(peer: Path, role: str, domain: int, config: str) -> Iterator[subprocess.Popen[str]]:
    """A peer that must still live, and end in good order, when its input closes."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [peer, role, str(domain), config], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.poll() is None, f"the peer died with {process.returncode}: {process.communicate()[1]}"
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.communicate()


def eventually(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def exchange_with_robot(peer: Path, domain: int, config: str, settings: DdsSettings, us_first: bool) -> None:
    def ours() -> None:
        writer, reader = us.writer(LOWCMD, HG_LOW_CMD), us.reader(LOWSTATE, HG_LOW_STATE)
        command, state = writer.buffer, reader.buffer
        HG_LOW_CMD.view(command, "mode_machine")[:] = 5
        HG_LOW_CMD.view(command, "motor_cmd[28].mode")[:] = 1
        HG_LOW_CMD.view(command, "motor_cmd.q")[28] = 0.25
        HG_LOW_CMD.view(command, "reserve")[0] = 123456
        HG_LOW_CMD.seal(command).write()
        eventually(lambda: writer.write() and reader.wait(0.01) and reader.take(), "no LowState")
        assert HG_LOW_STATE.view(state, "tick") == 123456
        assert HG_LOW_STATE.view(state, "mode_machine") == 5
        assert HG_LOW_STATE.view(state, "motor_state[28].mode") == 1
        assert HG_LOW_STATE.view(state, "motor_state.q")[28] == 0.25
        assert HG_LOW_STATE.view(state, "wireless_remote")[39] == 39
        assert HG_LOW_STATE.view(state, "crc") == HG_LOW_CMD.view(command, "crc")
        assert len(us.foreign_writers(LOWSTATE)) == 1
        assert us.foreign_writers(LOWCMD) == []

    if us_first:
        with Participant(settings, "us") as us, running(peer, "robot", domain, config):
            ours()
    else:
        with running(peer, "robot", domain, config), Participant(settings, "us") as us:
            ours()


@pytest.mark.parametrize("us_first", [True, False], ids=["we start first", "the peer starts first"])
def test_stock_robot_with_sdk_settings_takes_commands_and_sends_state(peer: Path, us_first: bool) -> None:
    exchange_with_robot(peer, ROBOT_DOMAIN, SDK_CONFIG, DdsSettings(ROBOT_DOMAIN), us_first)


@pytest.mark.parametrize("us_first", [True, False], ids=["we start first", "the peer starts first"])
def test_stock_robot_with_unicast_peers_takes_commands_and_sends_state(peer: Path, us_first: bool) -> None:
    settings = DdsSettings(UNICAST_DOMAIN, peers=("127.0.0.1",))
    exchange_with_robot(peer, UNICAST_DOMAIN, UNICAST_CONFIG, settings, us_first)


def test_stock_robot_with_unicast_peers_finds_us_without_peers_of_our_own(peer: Path) -> None:
    exchange_with_robot(peer, UNICAST_DOMAIN, UNICAST_CONFIG, DdsSettings(UNICAST_DOMAIN), True)


def test_stock_controller_drives_a_robot_of_ours(peer: Path) -> None:
    settings = DdsSettings(CONTROLLER_DOMAIN)
    with (
        Participant(settings, "us") as us,
        running(peer, "controller", settings.domain, SDK_CONFIG) as stock,
    ):
        reader, writer = us.reader(LOWCMD, HG_LOW_CMD), us.writer(LOWSTATE, HG_LOW_STATE)
        eventually(lambda: reader.wait(0.01) and reader.take(), "no LowCmd from the peer")
        assert HG_LOW_CMD.view(reader.buffer, "motor_cmd[28].mode") == 1
        assert HG_LOW_CMD.view(reader.buffer, "motor_cmd.q")[28] == 0.5
        assert HG_LOW_CMD.view(reader.buffer, "reserve")[0] > 0
        assert len(us.foreign_writers(LOWCMD)) == 1
        HG_LOW_STATE.view(writer.buffer, "tick")[:] = 77
        HG_LOW_STATE.view(writer.buffer, "motor_state[28].mode")[:] = 2
        HG_LOW_STATE.view(writer.buffer, "motor_state.q")[28] = -1.5
        HG_LOW_STATE.seal(writer.buffer).write()
        output = stock.stdout
        assert output is not None
        eventually(lambda: writer.write() and select([output], [], [], 0.01)[0], "the peer received nothing")
        assert writer.matched() == 1
        tick, mode, q, crc = output.readline().split()
        assert (tick, mode, q) == ("77", "2", "-1.500")
        assert int(crc) == HG_LOW_STATE.crc(writer.buffer)
