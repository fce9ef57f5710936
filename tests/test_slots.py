"""Shared memory: what a reader may see of a writer that is ahead, dead, or of another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.errors import Refused
from runtime.slots import HEADER, Ring, Slot

DTYPE = np.dtype([("now_ns", "<i8"), ("values", "<f4", (10,))])
RUN = 0xABCDEF


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slot"


def pair(path: Path) -> tuple[Slot, Slot]:
    return Slot(path, DTYPE, RUN, create=True), Slot(path, DTYPE, RUN)


def publish(slot: Slot, number: int) -> None:
    slot.record["now_ns"], slot.record["values"] = number, number
    slot.publish()


def overwrite(path: Path, place: int, content: bytes) -> None:
    """Change bytes under a reader's feet, past the writer's protocol."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def header_field(path: Path, name: str) -> int:
    return int(np.fromfile(path, HEADER, 1)[name][0])


def test_a_published_record_is_read_once(path: Path) -> None:
    writer, reader = pair(path)
    assert not reader.read(), "nothing has been published"
    publish(writer, 7)
    assert reader.read()
    assert reader.record["now_ns"][0] == 7
    np.testing.assert_array_equal(reader.record["values"][0], 7)
    assert not reader.read()


def test_a_slow_reader_gets_the_newest(path: Path) -> None:
    writer, reader = pair(path)
    for number in range(1, 100):
        publish(writer, number)
    assert reader.read()
    assert reader.record["now_ns"][0] == 99


def test_a_reader_keeps_its_own_copy(path: Path) -> None:
    writer, reader = pair(path)
    publish(writer, 1)
    reader.read()
    writer.record["values"] = 5
    publish(writer, 2)
    assert reader.record["now_ns"][0] == 1


def test_two_readers_do_not_disturb_each_other(path: Path) -> None:
    writer, one = pair(path)
    other = Slot(path, DTYPE, RUN)
    publish(writer, 3)
    assert one.read()
    assert other.read()


@pytest.mark.parametrize("place", [0, 7, 8, DTYPE.itemsize - 1])
def test_a_torn_record_is_not_taken_and_the_old_one_stays(path: Path, place: int) -> None:
    writer, reader = pair(path)
    publish(writer, 1)
    assert reader.read()
    publish(writer, 2)
    byte = path.read_bytes()[HEADER.itemsize + place]
    overwrite(path, HEADER.itemsize + place, bytes([byte ^ 0xFF]))
    assert not reader.read()
    assert reader.record["now_ns"][0] == 1
    publish(writer, 3)
    assert reader.read()
    assert reader.record["now_ns"][0] == 3


def test_a_record_under_way_is_not_taken(path: Path) -> None:
    writer, reader = pair(path)
    publish(writer, 1)
    assert HEADER.fields is not None
    overwrite(path, HEADER.fields["sequence"][1], (3).to_bytes(8, "little"))
    assert not reader.read()


def test_a_writer_that_died_inside_a_write_is_succeeded(path: Path) -> None:
    writer, reader = pair(path)
    publish(writer, 1)
    assert reader.read()
    assert HEADER.fields is not None
    overwrite(path, HEADER.fields["sequence"][1], (3).to_bytes(8, "little"))
    overwrite(path, HEADER.itemsize, b"half a record")
    assert not reader.read()
    successor = Slot(path, DTYPE, RUN)
    publish(successor, 2)
    assert header_field(path, "sequence") % 2 == 0
    assert reader.read()
    assert reader.record["now_ns"][0] == 2
    publish(successor, 3)
    assert reader.read()


def test_a_successor_of_an_orderly_writer_goes_on_counting(path: Path) -> None:
    writer, reader = pair(path)
    publish(writer, 1)
    reader.read()
    publish(Slot(path, DTYPE, RUN), 2)
    assert reader.read()
    assert reader.record["now_ns"][0] == 2


def test_memory_of_another_run_is_refused(path: Path) -> None:
    Slot(path, DTYPE, RUN, create=True)
    with pytest.raises(Refused, match="expected run 1, found run abcdef"):
        Slot(path, DTYPE, 1)


def test_memory_of_another_size_is_refused(path: Path) -> None:
    Slot(path, DTYPE, RUN, create=True)
    with pytest.raises(Refused, match="bytes"):
        Slot(path, np.dtype([("now_ns", "<i8")]), RUN)


def test_memory_of_another_record_of_the_same_total_size_is_refused(path: Path) -> None:
    Ring(path, np.dtype([("a", "<i8")]), RUN, 6, create=True)
    with pytest.raises(Refused):
        Slot(path, DTYPE, RUN)


def test_a_file_that_is_no_shared_memory_is_refused(path: Path) -> None:
    path.write_bytes(bytes(HEADER.itemsize + DTYPE.itemsize))
    with pytest.raises(Refused):
        Slot(path, DTYPE, 0)


def test_memory_is_never_created_twice_and_is_private(path: Path) -> None:
    Slot(path, DTYPE, RUN, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        Slot(path, DTYPE, RUN, create=True)


def test_memory_is_backed_when_it_is_made(path: Path) -> None:
    """A sparse file on a full /dev/shm would kill the gate with SIGBUS at its first write."""
    Ring(path, DTYPE, RUN, 1000, create=True)
    assert path.stat().st_blocks * 512 >= path.stat().st_size


# Rings


def ring(path: Path, count: int = 8) -> tuple[Ring, Ring]:
    return Ring(path, DTYPE, RUN, count, create=True), Ring(path, DTYPE, RUN, count)


def push(writer: Ring, *numbers: int) -> None:
    for number in numbers:
        writer.record["now_ns"], writer.record["values"] = number, number
        writer.push()


def drained(reader: Ring) -> list[int]:
    rows: list[bytes] = []
    reader.drain(rows.append)
    records = np.frombuffer(b"".join(rows), DTYPE)
    for record in records:
        np.testing.assert_array_equal(record["values"], record["now_ns"])
    return [int(number) for number in records["now_ns"]]


def test_a_ring_hands_over_every_record_in_order(path: Path) -> None:
    writer, reader = ring(path)
    seen = []
    for start in range(0, 60, 5):
        push(writer, *range(start, start + 5))
        seen += drained(reader)
    assert seen == list(range(60))
    assert reader.lost == 0
    assert drained(reader) == []


@pytest.mark.parametrize("pushed", range(0, 40))
def test_a_ring_keeps_the_newest_and_counts_what_was_overwritten(path: Path, pushed: int) -> None:
    writer, reader = ring(path)
    push(writer, *range(pushed))
    seen = drained(reader)
    assert seen == list(range(pushed - len(seen), pushed)), "the newest, in order, without a gap"
    assert len(seen) + reader.lost == pushed
    assert len(seen) == min(pushed, 7), "the oldest place is the writer's next: it is never trusted"


def test_a_record_overwritten_while_it_is_read_is_counted_lost(path: Path) -> None:
    writer, reader = ring(path)
    push(writer, *range(5))
    seen: list[int] = []

    def take(row: bytes) -> None:
        number = int(np.frombuffer(row, DTYPE)["now_ns"][0])
        seen.append(number)
        if number == 0:  # meanwhile the writer laps the reader
            push(writer, *range(5, 12))

    reader.drain(take)
    assert seen == [0]
    assert reader.lost == 4
    assert drained(reader) == [5, 6, 7, 8, 9, 10, 11]


def test_a_ring_of_another_run_is_refused(path: Path) -> None:
    ring(path)
    with pytest.raises(Refused, match="another run"):
        Ring(path, DTYPE, RUN + 1, 8)


def test_a_new_writer_goes_on_where_the_old_one_died(path: Path) -> None:
    writer, reader = ring(path)
    push(writer, 0, 1, 2)
    push(Ring(path, DTYPE, RUN, 8), 3, 4)
    assert drained(reader) == [0, 1, 2, 3, 4]
