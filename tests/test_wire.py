"""The wire format: golden offsets, lengths and CRCs, and identity with the stock serialiser."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from firmware_bridge.crc import crc32_words
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import (
    GO_LOW_CMD,
    GO_LOW_STATE,
    GO_SPORT_MODE_STATE,
    HG_BMS_STATE,
    HG_IMU_STATE,
    HG_LOW_CMD,
    HG_LOW_STATE,
    Layout,
    Struct,
)

HEADER = bytes.fromhex("00010000")  # little-endian XCDR1
WITH_CRC = [HG_LOW_STATE, HG_LOW_CMD, GO_LOW_STATE, GO_LOW_CMD]
SAMPLES = 1000

# Verified field by field against cyclonedds-python 11.0.1 on the types of
# unitreerobotics/unitree_sdk2_python @37116c52.
GOLDEN_OFFSETS: list[tuple[Layout, str]] = [
    (HG_LOW_STATE, "version 0, mode_pr 8, mode_machine 9, tick 12, imu_state.quaternion 16,"
     "imu_state.gyroscope 32, imu_state.accelerometer 44, imu_state.rpy 56, imu_state.temperature 68,"
     "motor_state[0].mode 70, motor_state[0].q 72, motor_state[0].dq 76, motor_state[0].ddq 80,"
     "motor_state[0].tau_est 84, motor_state[0].temperature 88, motor_state[0].vol 92,"
     "motor_state[0].sensor 96, motor_state[0].motorstate 104, motor_state[0].reserve 108,"
     "motor_state[1].mode 124, motor_state[1].q 128, motor_state[2].mode 180, wireless_remote 2028,"
     "reserve 2068, crc 2084"),
    (HG_LOW_CMD, "mode_pr 0, mode_machine 1, motor_cmd[0].mode 2, motor_cmd[0].q 4, motor_cmd[0].dq 8,"
     "motor_cmd[0].tau 12, motor_cmd[0].kp 16, motor_cmd[0].kd 20, motor_cmd[0].reserve 24,"
     "motor_cmd[1].mode 28, motor_cmd[1].q 32, motor_cmd[2].mode 56, reserve 980, crc 996"),
    (GO_LOW_STATE, "head 0, level_flag 2, frame_reserve 3, sn 4, version 12, bandwidth 20,"
     "imu_state.quaternion 24, imu_state.gyroscope 40, imu_state.accelerometer 52, imu_state.rpy 64,"
     "imu_state.temperature 76, motor_state[0].mode 77, motor_state[0].q 80, motor_state[0].dq 84,"
     "motor_state[0].ddq 88, motor_state[0].tau_est 92, motor_state[0].q_raw 96, motor_state[0].dq_raw 100,"
     "motor_state[0].ddq_raw 104, motor_state[0].temperature 108, motor_state[0].lost 112,"
     "motor_state[0].reserve 116, motor_state[1].mode 124, motor_state[2].mode 172,"
     "bms_state.version_high 1036, bms_state.version_low 1037, bms_state.status 1038, bms_state.soc 1039,"
     "bms_state.current 1040, bms_state.cycle 1044, bms_state.bq_ntc 1046, bms_state.mcu_ntc 1048,"
     "bms_state.cell_vol 1050, foot_force 1080, foot_force_est 1088, tick 1096, wireless_remote 1100,"
     "bit_flag 1140, adc_reel 1144, temperature_ntc1 1148, temperature_ntc2 1149, power_v 1152,"
     "power_a 1156, fan_frequency 1160, reserve 1168, crc 1172"),
    (GO_LOW_CMD, "head 0, level_flag 2, frame_reserve 3, sn 4, version 12, bandwidth 20,"
     "motor_cmd[0].mode 22, motor_cmd[0].q 24, motor_cmd[0].dq 28, motor_cmd[0].tau 32, motor_cmd[0].kp 36,"
     "motor_cmd[0].kd 40, motor_cmd[0].reserve 44, motor_cmd[1].mode 56, motor_cmd[2].mode 92,"
     "bms_cmd.off 740, bms_cmd.reserve 741, wireless_remote 744, led 784, fan 796, gpio 798,"
     "reserve 800, crc 804"),
]


def type_name(value: object) -> str:
    """The test id of a layout; empty, and so left out, for its other parameters."""
    return value.type_name if isinstance(value, Layout) else ""


@pytest.mark.parametrize(("layout", "golden"), GOLDEN_OFFSETS, ids=type_name)
def test_offsets_are_the_golden_ones(layout: Layout, golden: str) -> None:
    for entry in golden.split(","):
        path, offset = entry.split()
        assert layout.offset(path) == int(offset), path


@pytest.mark.parametrize(
    ("layout", "size", "c_struct", "crc_words"),
    [
        (HG_LOW_STATE, 2088, 2092, 522),
        (HG_LOW_CMD, 1000, 1004, 250),
        (GO_LOW_STATE, 1176, 1180, 294),
        (GO_LOW_CMD, 808, 812, 202),
        (HG_IMU_STATE, 54, 56, 0),
        (HG_BMS_STATE, 164, 164, 0),
        (GO_SPORT_MODE_STATE, 232, 236, 0),
    ],
    ids=type_name,
)
def test_sizes_are_the_golden_ones(layout: Layout, size: int, c_struct: int, crc_words: int) -> None:
    assert (layout.size, layout.c_struct_size, layout.crc_words) == (size, c_struct, crc_words)
    buffer = layout.empty()
    assert buffer.shape == ((size + 3) // 4 * 4,)
    assert buffer.ctypes.data % 4 == 0


# --- CRC


@pytest.mark.parametrize(
    ("words", "crc"),
    [
        ([0], 0xC704DD7B),
        ([1, 2, 3, 4], 0x955AE3FD),
        ([0x31323334, 0x35363738], 0x49E3C2FB),
        ([0] * 250, 0xFE172F9F),
        (range(250), 0x8C8A746F),
        ([0] * 522, 0xD64BB04A),
    ],
)
def test_crc_of_golden_words(words: list[int], crc: int) -> None:
    assert crc32_words(np.array(words, dtype=np.uint32)) == crc


def bitwise_crc(words: list[int]) -> int:
    """CRC-32/MPEG-2 by its definition, bit by bit."""
    crc = 0xFFFFFFFF
    for word in words:
        crc ^= word
        for _ in range(32):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
            crc &= 0xFFFFFFFF
    return crc


def test_crc_equals_the_bitwise_definition_on_random_words() -> None:
    random = np.random.default_rng(1)
    for _ in range(SAMPLES):
        words = random.integers(0, 2**32, random.integers(1, 40), dtype=np.uint32)
        assert crc32_words(words) == bitwise_crc(words.tolist())


def golden_command() -> np.ndarray[Any, np.dtype[np.uint8]]:
    buffer = HG_LOW_CMD.empty()
    HG_LOW_CMD.view(buffer, "mode_machine")[:] = 5
    buffer[HG_LOW_CMD.offsets("motor_cmd.mode")[:29]] = 1
    HG_LOW_CMD.view(buffer, "motor_cmd.q")[:29] = np.arange(29) * 0.01
    HG_LOW_CMD.view(buffer, "motor_cmd.kp")[:29] = 100
    HG_LOW_CMD.view(buffer, "motor_cmd.kd")[:29] = 2
    HG_LOW_CMD.seal(buffer).write()
    return buffer


def test_whole_golden_command() -> None:
    buffer = golden_command()
    wire = HEADER + buffer.tobytes()
    assert len(wire) == 1004
    assert HG_LOW_CMD.view(buffer, "crc") == 0x4FB821C0
    assert wire[:40].hex(" ", 4) == (
        "00010000 00050100 00000000 00000000 00000000 0000c842 00000040 00000000 01000000 0ad7233c"
    )
    assert wire[-8:].hex(" ", 4) == "00000000 c021b84f"
    assert zlib.crc32(wire) == 0xFD963376


@pytest.mark.parametrize("layout", WITH_CRC, ids=type_name)
def test_seal_ignores_padding_and_notices_every_byte_of_content(layout: Layout) -> None:
    random = np.random.default_rng(2)
    content = {leaf.wire + k for leaf in layout.leaves.values() for k in range(leaf.size)}
    buffer = layout.empty()
    buffer[:] = random.integers(0, 256, buffer.size, dtype=np.uint8)
    seal = layout.seal(buffer)
    seal.write()
    assert seal.matches()
    for byte in range(layout.size):
        buffer[byte] ^= 0x40
        assert seal.matches() == (byte not in content), f"byte {byte}"
        buffer[byte] ^= 0x40


def test_seal_needs_a_crc_member() -> None:
    with pytest.raises(BridgeError, match="crc member"):
        HG_IMU_STATE.seal(HG_IMU_STATE.empty())


# --- Views


def test_views_write_through() -> None:
    buffer = HG_LOW_CMD.empty()
    q, block = HG_LOW_CMD.view(buffer, "motor_cmd.q"), HG_LOW_CMD.block(buffer, "motor_cmd", "q", "kd")
    assert q.shape == (35,) and block.shape == (35, 5)
    q[34] = 1.5
    assert block[34, 0] == 1.5
    block[3] = 1, 2, 3, 4, 5
    for name, value in zip(("q", "dq", "tau", "kp", "kd"), range(1, 6), strict=True):
        assert HG_LOW_CMD.view(buffer, f"motor_cmd[3].{name}") == value
    assert np.frombuffer(buffer.tobytes()[88:108], "<f4").tolist() == [1, 2, 3, 4, 5]
    block[:] = 7
    assert not HG_LOW_CMD.view(buffer, "reserve").any()
    assert not buffer[HG_LOW_CMD.offsets("motor_cmd.mode")].any()


def test_shapes_of_views() -> None:
    buffer = HG_LOW_STATE.empty()
    shapes = {"tick": (1,), "imu_state.quaternion": (4,), "motor_state.temperature": (35, 2),
              "motor_state.q": (35,), "motor_state[2].temperature": (2,), "wireless_remote": (40,)}
    for path, shape in shapes.items():
        assert HG_LOW_STATE.view(buffer, path).shape == shape, path


@pytest.mark.parametrize("path", ["motor_state.torque", "motor", "motor_state[35].q", "imu_state.q"])
def test_unknown_member_is_named_with_the_known_ones(path: str) -> None:
    with pytest.raises(BridgeError, match=r"motor_state\.q") as error:
        HG_LOW_STATE.view(HG_LOW_STATE.empty(), path)
    assert path in str(error.value)


def test_mode_bytes_have_offsets_but_no_strided_view() -> None:
    with pytest.raises(BridgeError, match="offsets"):
        HG_LOW_STATE.view(HG_LOW_STATE.empty(), "motor_state.mode")
    assert HG_LOW_STATE.offsets("motor_state.mode")[:3].tolist() == [70, 124, 180]


def test_block_refuses_members_that_are_not_floats() -> None:
    with pytest.raises(BridgeError, match="float"):
        HG_LOW_STATE.block(HG_LOW_STATE.empty(), "motor_state", "q", "vol")


def test_buffer_that_is_too_short_is_refused() -> None:
    with pytest.raises(BridgeError, match="1000"):
        HG_LOW_CMD.view(HG_LOW_CMD.empty()[:-4], "motor_cmd.q")


# --- Against the stock serialiser


def random_value(kind: str, random: np.random.Generator) -> Any:
    if kind == "f32":
        return float(np.float32(random.normal(0, 100)))
    bits = {"u8": 8, "i16": 16, "u16": 16, "i32": 32, "u32": 32}[kind]
    low = -(1 << bits - 1) if kind[0] == "i" else 0
    return int(random.integers(low, low + (1 << bits)))


def fill(table: Struct, message: Any, random: np.random.Generator) -> None:
    for name, kind, length in table.members:
        if isinstance(kind, Struct):
            value = getattr(message, name)
            for part in [value] if length is None else value:
                fill(kind, part, random)
        elif length is None:
            setattr(message, name, random_value(kind, random))
        else:
            setattr(message, name, [random_value(kind, random) for _ in range(length)])


def encode(layout: Layout, message: Any) -> bytes:
    """The message member by member through our views, sealed where the type has a CRC."""
    buffer = layout.empty()
    for path in layout.leaves:
        value = message
        for step in path.split("."):
            name, _, index = step.rstrip("]").partition("[")
            value = getattr(value, name)
            value = value[int(index)] if index else value
        layout.view(buffer, path)[:] = value
    if layout.crc_words:
        layout.seal(buffer).write()
    return HEADER + buffer.tobytes()[: layout.size]


@pytest.mark.slow
@pytest.mark.parametrize("layout", [*WITH_CRC, HG_IMU_STATE, HG_BMS_STATE, GO_SPORT_MODE_STATE], ids=type_name)
def test_bytes_are_identical_to_the_stock_serialiser(layout: Layout) -> None:
    stock = pytest.importorskip("firmware_bridge.stock_path")
    random = np.random.default_rng(3)
    message = stock.blank(layout.struct)
    for _ in range(SAMPLES):
        fill(layout.struct, message, random)
        if layout.crc_words:
            message.crc = stock.stock_crc(layout, message)
        assert message.serialize(use_version_2=False) == encode(layout, message)


def test_trap_aligned_struct_has_the_length_of_the_wire_buffer_but_another_layout() -> None:
    motor = np.dtype([("mode", "u1"), *((name, "<f4") for name in ("q", "dq", "tau", "kp", "kd")),
                      ("reserve", "<u4")], align=True)
    c_struct = np.dtype([("mode_pr", "u1"), ("mode_machine", "u1"), ("motor_cmd", motor, 35),
                         ("reserve", "<u4", 4), ("crc", "<u4")], align=True)
    wire = HEADER + golden_command().tobytes()
    assert c_struct.itemsize == HG_LOW_CMD.c_struct_size == len(wire)  # no length check helps
    misread = np.frombuffer(wire, c_struct)[0]
    assert misread["mode_machine"] != 5
    assert misread["motor_cmd"]["mode"][0] != 1
