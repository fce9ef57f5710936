"""Logs: every record type comes back as it was written, also from a file whose end is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mcap", reason="missing dependency: mcap")

from mcap.reader import make_reader

from runtime.log_file import CDR_LITTLE_ENDIAN, LogWriter, message_definition, read_log
from runtime.records import TRUTH_DTYPE, gate_log_dtype, policy_log_dtype, target_dtype

TYPES = {
    "gate": gate_log_dtype(29),
    "policy": policy_log_dtype(29, 29, 1432),
    "truth": TRUTH_DTYPE,
    "target": target_dtype(27),
}
ABOUT = {"controller": "twist2", "command": [0.5, 0, 0], "clip": None}


def random_rows(dtype: np.dtype[np.void], count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    rows = np.frombuffer(rng.bytes(dtype.itemsize * count), dtype).copy()
    rows["now_ns" if "now_ns" in (dtype.names or ()) else "made_ns"] = np.arange(count) * 2_000_000 + 10**15
    return rows


def write(path: Path, count: int = 20) -> dict[str, np.ndarray]:
    log = LogWriter(path, ABOUT)
    rows = {topic: random_rows(dtype, count) for topic, dtype in TYPES.items()}
    for topic, dtype in TYPES.items():
        log.add_channel(topic, dtype)
    for i in range(count):
        for topic in TYPES:
            log.write(topic, rows[topic][i].tobytes())
    log.close()
    return rows


@pytest.mark.parametrize("topic", TYPES)
def test_records_come_back_bit_for_bit(tmp_path: Path, topic: str) -> None:
    rows = write(tmp_path / "log.mcap")
    log = read_log(tmp_path / "log.mcap")
    assert log.complete
    assert log.about == ABOUT
    assert log.topics[topic].dtype == TYPES[topic]
    assert log.topics[topic].tobytes() == rows[topic].tobytes()


def test_any_mcap_reader_sees_topics_times_and_schemas(tmp_path: Path) -> None:
    rows = write(tmp_path / "log.mcap", 5)
    with (tmp_path / "log.mcap").open("rb") as file:
        messages = list(make_reader(file).iter_messages())
    assert {channel.topic for _, channel, _ in messages} == set(TYPES)
    for schema, channel, message in messages:
        assert schema is not None
        assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
        assert message.data[:4] == CDR_LITTLE_ENDIAN
    times = [message.log_time for _, channel, message in messages if channel.topic == "gate"]
    assert times == rows["gate"]["now_ns"].tolist()


@pytest.mark.parametrize("topic", TYPES)
def test_a_message_definition_names_every_field_with_its_size(topic: str) -> None:
    dtype = TYPES[topic]
    lines = message_definition(dtype).split("\n")
    sizes = {"int64": 8, "uint64": 8, "float64": 8, "int32": 4, "uint32": 4, "float32": 4,
             "int16": 2}
    total = 0
    for line, name in zip(lines, dtype.names or (), strict=True):
        kind, field = line.split(" ")
        assert field == name
        base, _, count = kind.partition("[")
        total += sizes[base] * int(count.rstrip("]") or 1)
    assert total == dtype.itemsize


@pytest.mark.parametrize("topic", TYPES)
def test_fields_stand_where_cdr_puts_them(topic: str) -> None:
    """Largest alignment first and no padding, or a viewer would read garbage."""
    dtype, offset = TYPES[topic], 0
    for name in dtype.names or ():
        assert dtype.fields is not None
        kind, place = dtype.fields[name][:2]
        assert place == offset
        assert place % kind.base.itemsize == 0
        offset += kind.itemsize


def test_message_definition_of_a_small_record() -> None:
    dtype = np.dtype([("now_ns", "<i8"), ("block", "<f4", (2, 5)), ("count", "<u4"), ("v", "i1", (3,))])
    assert message_definition(dtype) == "int64 now_ns\nfloat32[10] block\nuint32 count\nint8[3] v"


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.2])
def test_a_cut_file_gives_what_is_there(tmp_path: Path, kept: float) -> None:
    rows = write(tmp_path / "log.mcap", 50)
    whole = (tmp_path / "log.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: int(len(whole) * kept)])
    log = read_log(tmp_path / "cut.mcap")
    assert not log.complete
    assert log.about == ABOUT
    read = log.topics["gate"]
    assert len(read) >= int(50 * kept) - 3
    assert read.tobytes() == rows["gate"][: len(read)].tobytes()


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_a_file_cut_in_its_head_is_read_as_far_as_it_goes(tmp_path: Path, size: int) -> None:
    write(tmp_path / "log.mcap", 1)
    (tmp_path / "cut.mcap").write_bytes((tmp_path / "log.mcap").read_bytes()[:size])
    log = read_log(tmp_path / "cut.mcap")
    assert not log.complete
    assert all(len(rows) == 0 for rows in log.topics.values())


def test_a_killed_writer_loses_only_what_was_not_flushed(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "log.mcap", ABOUT)
    log.add_channel("truth", TRUTH_DTYPE)
    rows = random_rows(TRUTH_DTYPE, 10)
    for row in rows:
        log.write("truth", row.tobytes())
    log.flush()
    again = read_log(tmp_path / "log.mcap")
    assert not again.complete
    assert again.topics["truth"].tobytes() == rows.tobytes()
    log.close()


def test_a_log_without_records_is_complete_and_empty(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "log.mcap", {})
    log.add_channel("truth", TRUTH_DTYPE)
    log.close()
    again = read_log(tmp_path / "log.mcap")
    assert again.complete
    assert len(again.topics["truth"]) == 0
