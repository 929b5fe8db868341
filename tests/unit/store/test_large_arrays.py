"""Arrays of any size: written piece by piece, mapped without being read again, and never believed when changed."""

import hashlib
import io
import os
import shutil

import numpy as np
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.store import checked, seals
from layerlottery.store.arrays import array_writer, read_array, write_array

ARRAY = np.arange(420, dtype=np.uint8).reshape(7, 3, 4, 5)


def write(path, *pieces, shape=ARRAY.shape, dtype=np.uint8):
    with array_writer(path, shape, dtype) as writer:
        for piece in pieces:
            writer.write(piece)
    return writer.content


@pytest.mark.parametrize("cuts", [[], [1], [0, 3, 3, 6], [1, 2, 3, 4, 5, 6], [7]], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_pieces_become_the_file_that_numpy_writes(tmp_path, cuts, dtype):
    array, sink = ARRAY.astype(dtype), io.BytesIO()
    content = write(tmp_path / "a.npy", *np.split(array, cuts), dtype=dtype)
    np.save(sink, array)
    assert (tmp_path / "a.npy").read_bytes() == sink.getvalue()
    assert content == hashlib.sha256(sink.getvalue()).hexdigest()
    assert np.array_equal(read_array(tmp_path / "a.npy", content), array)


def test_an_array_without_rows(tmp_path):
    content = write(tmp_path / "a.npy", shape=(0, 3, 8, 8))
    assert content == write_array(tmp_path / "b.npy", np.empty((0, 3, 8, 8), dtype=np.uint8))
    assert read_array(tmp_path / "a.npy", content).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    "pieces", [[], [ARRAY[:6]], [ARRAY, ARRAY[:1]], [ARRAY.astype(np.int64)], [ARRAY[:, :2]], [ARRAY[..., None]]]
)
def test_pieces_that_do_not_make_up_the_array_leave_nothing(tmp_path, pieces):
    with pytest.raises(ValueError, match=r"rows"):
        write(tmp_path / "a.npy", *pieces)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_the_old_file(tmp_path):
    content = write(tmp_path / "a.npy", ARRAY)
    with pytest.raises(RuntimeError), array_writer(tmp_path / "a.npy", (9, 2), np.uint8):
        raise RuntimeError("killed")
    assert np.array_equal(read_array(tmp_path / "a.npy", content), ARRAY)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_array_may_be_written_to_and_the_file_stays(tmp_path, order):
    array = np.asarray(ARRAY, order=order)
    content = write_array(tmp_path / "a.npy", array)
    held = read_array(tmp_path / "a.npy", content)
    assert np.array_equal(held, ARRAY)
    held[:] = 0
    assert np.array_equal(read_array(tmp_path / "a.npy", content), ARRAY)


# checked once


@pytest.fixture
def reads(monkeypatch):
    """Takes every file for a large one; the list of those that were read whole."""
    seen, whole = [], seals.file_digest
    monkeypatch.setattr(checked, "LARGE", 0)
    monkeypatch.setattr(seals, "file_digest", lambda path: seen.append(path.name) or whole(path))
    return seen


@pytest.fixture
def large(tmp_path, reads):
    path = tmp_path / "data" / "a.npy"
    return path, write(path, ARRAY)


def test_what_wrote_a_large_array_vouches_for_it(large, reads):
    for _ in range(3):
        assert np.array_equal(read_array(*large), ARRAY)
    assert reads == []


def test_the_first_reader_vouches_for_the_later_ones(large, reads):
    checked.note(large[0]).unlink()
    for _ in range(3):
        assert np.array_equal(read_array(*large), ARRAY)
    assert reads == ["a.npy"]


def flip(path):
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def flip_with_old_times(path):
    held = path.stat()
    flip(path)
    os.utime(path, ns=(held.st_atime_ns, held.st_mtime_ns))


def replace_with_old_times(path):
    held = path.stat()
    shutil.copy(path, path.with_name("b.npy"))
    flip(path.with_name("b.npy"))
    os.utime(path.with_name("b.npy"), ns=(held.st_atime_ns, held.st_mtime_ns))
    path.with_name("b.npy").replace(path)


@pytest.mark.parametrize("change", [flip, flip_with_old_times, replace_with_old_times])
def test_a_change_to_a_large_array_is_noticed(large, change):
    path, content = large
    read_array(path, content)
    change(path)
    for _ in range(2):
        with pytest.raises(LayerLotteryError, match=r"a\.npy: its content does not match its hash"):
            read_array(path, content)


def test_another_hash_is_not_believed(large):
    with pytest.raises(LayerLotteryError, match="does not match its hash"):
        read_array(large[0], "0" * 64)
    assert np.array_equal(read_array(*large), ARRAY)


def test_a_copy_is_read_once(large, reads):
    path, content = large
    shutil.copytree(path.parent, path.parent.with_name("copy"))
    for _ in range(2):
        read_array(path.parent.with_name("copy") / "a.npy", content)
    assert reads == ["a.npy"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"content": 1}'])
def test_a_note_that_is_none_is_passed_over(large, reads, text):
    path, content = large
    checked.note(path).write_bytes(text)
    for _ in range(2):
        assert np.array_equal(read_array(path, content), ARRAY)
    assert reads == ["a.npy"]


def test_where_no_note_can_be_written_every_reader_checks(large, reads, monkeypatch):
    path, content = large
    checked.note(path).unlink()
    checked.note(path).mkdir()
    for _ in range(2):
        assert np.array_equal(read_array(path, content), ARRAY)
    assert reads == ["a.npy"] * 2


def test_a_file_that_changes_while_it_is_checked_gets_no_note(large, monkeypatch):
    path, content = large
    checked.note(path).unlink()
    whole = seals.file_digest

    def slowly(path):
        found = whole(path)
        flip(path)
        return found

    monkeypatch.setattr(seals, "file_digest", slowly)
    read_array(path, content)
    assert not checked.note(path).exists()


def test_small_arrays_are_read_at_each_opening(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(checked, "LARGE", 10_000)
    content = write(tmp_path / "a.npy", ARRAY)
    for _ in range(2):
        read_array(tmp_path / "a.npy", content)
    assert reads == ["a.npy"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_an_array_larger_than_the_memory_is_mapped(tmp_path):
    """A file with a hole: of its bytes only the header is on the disk."""
    rows = 3 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (3 * 224 * 224)
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 3, 224, 224)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * 3 * 224 * 224)
    checked.remember(tmp_path / "a.npy", "of a hole")
    held = read_array(tmp_path / "a.npy", "of a hole")
    held[rows - 1, 2, 223, 223] = 7
    assert held.shape == (rows, 3, 224, 224)
    assert (held[0].sum(), held[rows - 1].sum()) == (0, 7)
