"""The motion switcher over DDS: ours with ours, and with a program built from Unitree's types on libddsc 0.10."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.dds_message import REQUEST, RESPONSE, ApiMessage
from firmware_bridge.motion_service import (
    CHECK_MODE,
    NOT_IMPLEMENTED,
    REQUEST_TOPIC,
    RESPONSE_TOPIC,
    MotionServiceClient,
    SimulatedMotionService,
    read_mode,
)

OURS, STOCK_ROBOT, STOCK_CLIENT, SILENT = 64, 65, 66, 67
PATIENCE_S = 15.0
SDK_CONFIG = (
    '<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="lo" priority="default"'
    ' multicast="default"/></Interfaces></General></Domain></CycloneDDS>'
)

IDL = """
module unitree_api { module msg { module dds_ {
@final struct RequestIdentity_ { long long id; long long api_id; };
@final struct RequestLease_ { long long id; };
@final struct RequestPolicy_ { long priority; boolean noreply; };
@final struct RequestHeader_ { RequestIdentity_ identity; RequestLease_ lease; RequestPolicy_ policy; };
@final struct Request_ { RequestHeader_ header; string parameter; sequence<octet> binary; };
@final struct ResponseStatus_ { long code; };
@final struct ResponseHeader_ { RequestIdentity_ identity; ResponseStatus_ status; };
@final struct Response_ { ResponseHeader_ header; string data; sequence<octet> binary; };
}; }; };
"""

PEER = r"""
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dds/dds.h"
#include "api.h"

typedef unitree_api_msg_dds__Request_ Request;
typedef unitree_api_msg_dds__Response_ Response;

/* "robot" answers each request; "client" asks CheckMode until it is answered and prints the answer. */
int main(int argc, char **argv)
{
  const int robot = argc == 4 && !strcmp(argv[1], "robot");
  const uint32_t domain = (uint32_t) atoi(argv[2]);
  if (dds_create_domain(domain, argv[3]) < 0) return 2;
  dds_entity_t p = dds_create_participant(domain, NULL, NULL);
  const dds_topic_descriptor_t *request = &unitree_api_msg_dds__Request__desc;
  dds_entity_t tq = dds_create_topic(p, request, "rt/api/motion_switcher/request", NULL, NULL);
  const dds_topic_descriptor_t *response = &unitree_api_msg_dds__Response__desc;
  dds_entity_t ts = dds_create_topic(p, response, "rt/api/motion_switcher/response", NULL, NULL);
  dds_entity_t r = dds_create_reader(p, robot ? tq : ts, NULL, NULL);
  dds_entity_t w = dds_create_writer(p, robot ? ts : tq, NULL, NULL);
  if (p < 0 || tq < 0 || ts < 0 || r < 0 || w < 0) return 3;
  printf("ready\n");
  fflush(stdout);
  uint8_t bytes[3] = { 7, 8, 9 };
  struct pollfd stdin_closed = { .fd = 0, .events = POLLIN };
  while (poll(&stdin_closed, 1, robot ? 1 : 50) == 0)
  {
    void *in[1] = { NULL };
    dds_sample_info_t info;
    if (!robot)
    {
      Request ask;
      memset(&ask, 0, sizeof ask);
      ask.header.identity.id = 1234567890123456789LL;
      ask.header.identity.api_id = 1001;
      ask.header.policy.priority = 3;
      ask.header.policy.noreply = 0;
      ask.parameter = "{\"a\": \"long enough to be no short string\"}";
      ask.binary._maximum = ask.binary._length = 3;
      ask.binary._buffer = bytes;
      if (dds_write(w, &ask) < 0) return 4;
    }
    if (dds_take(r, in, &info, 1, 1) != 1) continue;
    if (info.valid_data && robot)
    {
      const Request *ask = in[0];
      Response answer;
      memset(&answer, 0, sizeof answer);
      answer.header.identity = ask->header.identity;
      answer.header.status.code = strcmp(ask->parameter, "{}") || ask->binary._length ? 99 : 0;
      answer.data = "{\"form\":\"0\",\"name\":\"ai\"}";
      answer.binary._maximum = answer.binary._length = 3;
      answer.binary._buffer = bytes;
      if (dds_write(w, &answer) < 0) return 5;
    }
    if (info.valid_data && !robot)
    {
      const Response *answer = in[0];
      printf("%lld %lld %d %s\n", (long long) answer->header.identity.id, (long long) answer->header.identity.api_id,
             answer->header.status.code, answer->data);
      fflush(stdout);
    }
    dds_return_loan(r, in, 1);
  }
  return dds_delete(p) < 0 ? 6 : 0;
}
"""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in ("gcc", "idlc") if not shutil.which(tool)]
    if missing:
        needed = "Debian: gcc, cyclonedds-dev, cyclonedds-tools"
        pytest.skip(f"missing dependency: {' and '.join(missing)} for a stock C peer ({needed})")
    folder = tmp_path_factory.mktemp("peer")
    (folder / "api.idl").write_text(IDL)
    (folder / "peer.c").write_text(PEER)
    for command in ("idlc api.idl", "gcc -o peer peer.c api.c -lddsc"):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, text=True)
    return folder / "peer"


@contextmanager
def running(peer: Path, role: str, domain: int) -> Iterator[subprocess.Popen[str]]:
    """A peer that must still live, and end in good order, when its input closes."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([peer, role, str(domain), SDK_CONFIG], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
        assert process.poll() is None, f"the peer died with {process.returncode}: {process.communicate()[1]}"
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.communicate()


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.mark.parametrize("mode", ["", "ai"])
def test_a_simulated_robot_says_what_is_active(mode: str) -> None:
    with Participant(DdsSettings(OURS), "robot") as robot, Participant(DdsSettings(OURS), "us") as us:
        service, client = SimulatedMotionService(robot, mode), MotionServiceClient(us)

        def both() -> bool:
            service.pump()
            return client.pump(time.monotonic())

        eventually(both, "no answer")
        assert (client.mode, client.error) == (mode, "")


def test_a_simulated_robot_implements_nothing_else() -> None:
    with Participant(DdsSettings(OURS), "robot") as robot, Participant(DdsSettings(OURS), "us") as us:
        service = SimulatedMotionService(robot, "ai")
        writer, reader = us.api_writer(REQUEST_TOPIC, REQUEST), us.api_reader(RESPONSE_TOPIC, RESPONSE)
        eventually(lambda: writer.matched() and reader.matched(), "no match")
        answers: list[ApiMessage] = []

        def answered() -> bool:
            writer.write(ApiMessage(5, 1003))
            service.pump()
            answers.extend(filter(None, [reader.take()]))
            return bool(answers)

        eventually(answered, "no answer")
        assert answers[0] == ApiMessage(5, 1003, "", NOT_IMPLEMENTED)


def test_a_stock_robot_is_asked_and_survives(peer: Path) -> None:
    with running(peer, "robot", STOCK_ROBOT), Participant(DdsSettings(STOCK_ROBOT), "us") as us:
        client = MotionServiceClient(us)
        assert client.ask(PATIENCE_S) == "ai", client.error


def test_a_stock_client_is_answered_and_survives(peer: Path) -> None:
    with (
        Participant(DdsSettings(STOCK_CLIENT), "robot") as robot,
        running(peer, "client", STOCK_CLIENT) as client,
    ):
        service = SimulatedMotionService(robot, "normal")
        reader = robot.api_reader(REQUEST_TOPIC, REQUEST)
        heard: list[ApiMessage] = []

        def asked() -> bool:
            service.pump()
            heard.extend(filter(None, [reader.take()]))
            return len(heard) > 3

        eventually(asked, "no request")
        text = '{"a": "long enough to be no short string"}'
        assert heard[0] == ApiMessage(1234567890123456789, CHECK_MODE, text)
        assert client.stdout is not None
        line = client.stdout.readline()
        assert line == '1234567890123456789 1001 0 {"form": "0", "name": "normal"}\n'


def test_nobody_there_is_no_answer() -> None:
    with Participant(DdsSettings(SILENT), "us") as us:
        client = MotionServiceClient(us)
        assert client.ask(0.1) is None
        assert (client.mode, client.error) == (None, "")


@pytest.mark.parametrize(
    ("code", "text", "mode", "part"),
    [
        (0, '{"form":"0","name":""}', "", ""),
        (0, '{"form":"0","name":"mcf"}', "mcf", ""),
        (3203, "", None, "error 3203"),
        (0, "", None, "''"),
        (0, "[]", None, "[]"),
        (0, '{"form":"0"}', None, "form"),
        (0, '{"name":null}', None, "null"),
        (0, "[" * 100_000, None, "[[["),
    ],
)
def test_an_answer_is_a_mode_or_says_what_is_wrong(code: int, text: str, mode: str | None, part: str) -> None:
    found, error = read_mode(ApiMessage(1, CHECK_MODE, text, code))
    assert found == mode and part in error and bool(error) == (mode is None)
