"""The operator link's datagrams: golden bytes, round trips, and a decoder that names what is wrong and never raises."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Refused
from runtime.operator_key import check_bind, make_key, parse_address, read_key
from runtime.operator_message import (
    HEADER,
    LARGEST,
    MAC_BYTES,
    MOST_SPEED,
    TO_OPERATOR,
    TO_ROBOT,
    Answer,
    Beat,
    Challenge,
    Count,
    Empty,
    Kind,
    Message,
    OtherJoints,
    Pose,
    Reject,
    Response,
    Take,
    decode,
    encode,
    pose_form,
    stream_form,
)
from runtime.robot import load_robot

KEY = bytes(range(32))
FORM = pose_form(("hip", "knee"))
ALL = TO_ROBOT | TO_OPERATOR


def pose(quat=(1, 0, 0, 0), joint_pos=(0.5, -1), names=FORM.names):
    parts = (joint_pos, [2, 0.25], [0, 0, 0.75], quat)
    return Pose(names, *(np.array(part, np.float32) for part in parts))


BODIES = {
    "TAKE": Take(7, 9, 1, b"ann".ljust(32, b"\0")),
    "LEASE": Answer(7, 9, 11, 13, 0.25, 0.5, 3, 3, 2, 1, 5),
    "BEAT": Beat(100, 20, 5, 2, 0.5, -0.25, 1.0, 1),
    "POSE": pose(),
    "RELEASE": Empty(),
    "STOP": Empty(),
    "CHALLENGE": Challenge(0x0123456789ABCDEF),
    "RESPONSE": Response(0xFEDCBA9876543210, 1),
}
# One message of each kind on the wire: epoch 3, lease 11, sequence 42, sent at 123456789 ns, key 00 01 .. 1f.
GOLDEN = {
    "TAKE": (
        "45584f5402013800030000000b000000000000002a0000000000000015cd5b0700000000070000000000000009000000"
        "000000000100000000000000616e6e000000000000000000000000000000000000000000000000000000000030c454b3"
        "eaefff5374cf56692d991bdc"
    ),
    "LEASE": (
        "45584f5402023000030000000b000000000000002a0000000000000015cd5b0700000000070000000000000009000000"
        "000000000b000000000000000d000000000000000000803e0000003f0300000003020105bb237c7c546ea4432235a7c5"
        "fd97289a"
    ),
    "BEAT": (
        "45584f5402032800030000000b000000000000002a0000000000000015cd5b0700000000640000000000000014000000"
        "0000000005000000020000000000003f000080be0000803f01000000b4d5a9680818f592df665b54580ae6b1"
    ),
    "POSE": (
        "45584f5402043400030000000b000000000000002a0000000000000015cd5b07000000008183a98d3d4fcf590000003f"
        "000080bf000000400000803e00000000000000000000403f0000803f00000000000000000000000038c6c8983c1e8e79"
        "5f1ab99530253dec"
    ),
    "RELEASE": (
        "45584f5402050000030000000b000000000000002a0000000000000015cd5b0700000000299f92b0ba73b61d7010d65f"
        "494239d2"
    ),
    "STOP": (
        "45584f5402060000030000000b000000000000002a0000000000000015cd5b07000000008cfc8ca971e42f1b4e502077"
        "7e72f139"
    ),
    "CHALLENGE": (
        "45584f5402070800030000000b000000000000002a0000000000000015cd5b0700000000efcdab896745230132774cd5"
        "9518c884661eeb1ba0228a07"
    ),
    "RESPONSE": (
        "45584f5402081000030000000b000000000000002a0000000000000015cd5b07000000001032547698badcfe01000000"
        "00000000f85b0fe79fae60389f4b50ebecf7a093"
    ),
}


def message(kind, body, **header):
    return Message(kind, **{"epoch": 3, "lease": 11, "sequence": 42, "sent_ns": 123456789, **header}, body=body)


def raw(kind, body, *, version=2, magic=b"EXOT", length=None, key=KEY):
    """A datagram put together by hand, with a right MAC over whatever it says."""
    head = struct.pack("<4sBBHIQQq", magic, version, kind, len(body) if length is None else length, 3, 11, 42, 5)
    return head + body + hashlib.blake2b(head + body, digest_size=16, key=key).digest()


def flat(body):
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in body]


@pytest.mark.parametrize("name", BODIES)
def test_golden_vector_both_ways(name):
    wanted = message(Kind[name], BODIES[name])
    data = bytes.fromhex("".join(GOLDEN[name]))
    assert encode(wanted, KEY) == data
    found = decode(data, KEY, ALL, FORM)
    assert not isinstance(found, Reject)
    assert found[:-1] == wanted[:-1]
    assert type(found.body) is type(wanted.body)
    assert flat(found.body) == flat(wanted.body)


def test_every_kind_has_a_golden_vector_and_one_direction():
    assert set(BODIES) == set(GOLDEN) == {kind.name for kind in Kind}
    assert not TO_ROBOT & TO_OPERATOR
    assert set(Kind) == TO_ROBOT | TO_OPERATOR


BEAT_BODY = struct.pack("<qqIIfffB3x", 0, 0, 0, 0, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("data", "reject"),
    [
        (b"", Reject.SIZE),
        (raw(3, BEAT_BODY)[: HEADER.size + MAC_BYTES - 1], Reject.SIZE),
        (bytes(LARGEST + 1), Reject.SIZE),
        (raw(3, BEAT_BODY, magic=b"EXOU"), Reject.MAGIC),
        (raw(3, BEAT_BODY, version=1), Reject.VERSION),
        (raw(0, BEAT_BODY), Reject.KIND),
        (raw(9, BEAT_BODY), Reject.KIND),
        (raw(2, bytes(48)), Reject.KIND),  # an answer of the robot, sent back to it
        (raw(3, BEAT_BODY, length=len(BEAT_BODY) + 1), Reject.LENGTH),
        (raw(3, BEAT_BODY) + b"x", Reject.LENGTH),
        (raw(3, BEAT_BODY, key=bytes(32)), Reject.MAC),
        (raw(3, BEAT_BODY, key=b""), Reject.MAC),
        (raw(3, BEAT_BODY[:-1]), Reject.BODY),
        (raw(5, b"x"), Reject.BODY),
        (raw(3, struct.pack("<qqIIfffB3x", 0, 0, 0, 0, float("nan"), 0, 0, 1)), Reject.VALUE),
        (raw(3, struct.pack("<qqIIfffB3x", 0, 0, 0, 0, 0, float("inf"), 0, 1)), Reject.VALUE),
        (raw(3, struct.pack("<qqIIfffB3x", 0, 0, 0, 0, 0, 0, 0, 2)), Reject.VALUE),
        (raw(3, struct.pack("<qqIIfffB3x", 0, 0, 0, 0, 0, 0, np.nextafter(np.float32(MOST_SPEED), np.float32(20)), 1)),
         Reject.VALUE),
        (raw(1, struct.pack("<QQB7x32s", 0, 0, 2, b"")), Reject.VALUE),
        (raw(1, struct.pack("<QQB7x32s", 0, 0, 0, b"a\x1b[2J")), Reject.VALUE),
        (raw(8, struct.pack("<QB7x", 0, 2)), Reject.VALUE),
        (raw(4, b""), Reject.BODY),
        (raw(4, struct.pack("<Q", FORM.names)), Reject.BODY),
        (encode(message(Kind.POSE, pose(joint_pos=(0, np.nan))), KEY), Reject.VALUE),
        (encode(message(Kind.POSE, pose(quat=(0, 0, 0, 0))), KEY), Reject.VALUE),
        (encode(message(Kind.POSE, pose(quat=(1.0011, 0, 0, 0))), KEY), Reject.VALUE),
        (encode(message(Kind.POSE, pose(quat=(3e38, 3e38, 0, 0))), KEY), Reject.VALUE),
    ],
)
def test_what_is_wrong_is_named(data, reject):
    assert decode(data, KEY, TO_ROBOT, FORM) is reject


def test_both_sides_of_the_limits_of_a_value():
    for body in (Beat(0, 0, 0, 0, MOST_SPEED, -MOST_SPEED, 0, 0), pose(quat=(1.0009, 0, 0, 0))):
        kind = Kind.BEAT if isinstance(body, Beat) else Kind.POSE
        assert isinstance(decode(encode(message(kind, body), KEY), KEY, TO_ROBOT, FORM), Message)


def test_a_pose_is_rejected_where_no_robot_is_known():
    assert decode(encode(message(Kind.POSE, pose()), KEY), KEY, TO_ROBOT) is Reject.JOINTS


@pytest.mark.parametrize("body", [pose(names=1), pose(names=1, joint_pos=(0.5, -1, np.nan)), OtherJoints(1)])
def test_a_frame_for_other_joints_is_known_as_such_and_not_read(body):
    found = decode(encode(message(Kind.POSE, body), KEY), KEY, TO_ROBOT, FORM)
    assert isinstance(found, Message)
    assert found.body == OtherJoints(1)
    assert (found.epoch, found.lease, found.sequence) == (3, 11, 42)


def test_another_version_or_list_of_joints_is_another_stream(monkeypatch):
    forms = [stream_form(FORM.names), stream_form(FORM.names + 1)]
    monkeypatch.setattr("runtime.operator_message.VERSION", 3)
    forms.append(stream_form(FORM.names))
    assert len(set(forms)) == 3
    assert all(0 < form < 2**64 for form in forms)


def test_the_form_depends_on_names_and_their_order():
    assert len({pose_form(names).names for names in (("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""))}) == 4


def test_the_largest_robot_s_frame_fits_a_datagram():
    assert HEADER.size + pose_form([str(i) for i in range(64)]).size + MAC_BYTES <= LARGEST
    assert pose_form([joint.name for joint in load_robot("g1_29dof").joints]).joints == 29


def test_without_a_key_the_mac_is_a_checksum():
    data = encode(message(Kind.STOP, Empty()), None)
    assert isinstance(decode(data, None, TO_ROBOT), Message)
    assert decode(data, KEY, TO_ROBOT) is Reject.MAC
    assert decode(data[:-1] + bytes([data[-1] ^ 1]), None, TO_ROBOT) is Reject.MAC


def test_every_reason_belongs_to_a_counter_and_is_named_once():
    assert {reject.count for reject in Reject} == set(Count)
    assert len({reject.value[0] for reject in Reject}) == len(Reject)


@given(st.binary(max_size=LARGEST + 8))
def test_any_bytes_are_decoded_or_named(data):
    assert isinstance(decode(data, None, ALL, FORM), Message | Reject)


@given(st.sampled_from(list(Kind)), st.binary(max_size=200))
def test_any_body_under_a_right_mac_is_decoded_or_named(kind, body):
    found = decode(raw(kind, body), KEY, ALL, FORM)
    assert isinstance(found, Message) or found.count is Count.MALFORMED


@given(st.sampled_from(sorted(BODIES)), st.data())
def test_any_changed_bit_is_noticed(name, data):
    good = bytes.fromhex("".join(GOLDEN[name]))
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    assert isinstance(decode(bytes(bad), KEY, ALL, FORM), Reject)


# ---- key and address


def test_a_key_is_made_once_and_read_back(tmp_path):
    make_key(tmp_path / "key")
    key = read_key(tmp_path / "key")
    assert len(key) == 32
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="never overwritten"):
        make_key(tmp_path / "key")
    assert read_key(tmp_path / "key") == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_reach_is_refused(tmp_path, mode):
    make_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(Refused, match=f"{mode:04o}"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64])
def test_another_text_is_no_key(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(Refused, match="64 hexadecimal"):
        read_key(tmp_path / "key")


def test_no_key_file_is_refused_with_the_way_to_make_one(tmp_path):
    with pytest.raises(Refused, match="keygen"):
        read_key(tmp_path / "none")
    with pytest.raises(Refused):
        read_key(tmp_path)


@pytest.mark.parametrize("text", ["", "5570", ":5570", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "h:x", "h:٣"])
def test_an_address_of_another_form_is_refused(text):
    with pytest.raises(Refused, match="--to"):
        parse_address(text, "--to")


def test_only_loopback_goes_without_a_key():
    check_bind(parse_address("127.0.0.1:5570", "--teleop-bind"), None, "--teleop-bind")
    check_bind(("0.0.0.0", 5570), KEY, "--teleop-bind")
    for host in ("0.0.0.0", "192.168.123.164"):
        with pytest.raises(Refused, match="--teleop-key"):
            check_bind((host, 5570), None, "--teleop-bind")
