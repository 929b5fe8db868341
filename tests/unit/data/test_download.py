"""Downloads from a server on this machine that fails in every way it is told to."""

import hashlib
import logging
import re
import resource
import threading
import tracemalloc

import pytest
from tests.unit.data.serving import CONTENT, HALF, running

from layerlottery.data.download import Published, download, read_verified, verify
from layerlottery.errors import LayerLotteryError

MD5 = hashlib.md5(CONTENT).hexdigest()  # noqa: S324 - publishers use it
UNKNOWN_SIZE = {"size": None, "sha256": None, "md5": MD5}


@pytest.fixture
def server():
    with running() as serving:
        yield serving


def fetch(server, target, **changes):
    return download(server.file(**changes), target, pause=0.001)


def failure(server, target, **changes):
    """The one line of a download that fails and leaves nothing under the target's name."""
    with pytest.raises(LayerLotteryError) as caught:
        fetch(server, target, **changes)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def partial(target):
    return target.with_name(f".{target.name}.part")


def test_a_file_arrives_whole_with_its_progress_in_the_log(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, "layerlottery")
    target = tmp_path / "new" / "set.bin"
    assert fetch(server, target) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert server.asked == [None]
    assert 2 <= caplog.text.count(server.url) <= 10


def test_an_interrupted_download_goes_on_in_the_same_call(server, tmp_path):
    server.cuts = [HALF, 100_000]
    fetch(server, tmp_path / "set.bin")
    assert (tmp_path / "set.bin").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-", f"bytes={HALF + 100_000}-"]


def test_a_connection_that_stalls_is_left_and_asked_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr("layerlottery.data.download._TIMEOUT", 0.2)
    server.cuts, server.stalls = [HALF], 1
    fetch(server, tmp_path / "set.bin")
    server.released.set()
    assert (tmp_path / "set.bin").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-"]


def test_a_killed_download_goes_on_in_the_next_call(server, tmp_path):
    target = tmp_path / "set.bin"
    partial(target).write_bytes(CONTENT[:HALF])
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={HALF}-"]
    assert not partial(target).exists()


def test_what_is_complete_but_for_its_name_is_not_fetched_again(server, tmp_path):
    partial(tmp_path / "set.bin").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "set.bin").read_bytes() == CONTENT
    assert server.asked == []


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges, server.cuts = False, [HALF]
    assert fetch(server, tmp_path / "set.bin").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-"]


def test_a_server_that_always_breaks_off_is_given_up_and_what_came_is_kept(server, tmp_path):
    target = tmp_path / "set.bin"
    server.cuts = [HALF] + [0] * 100
    line = failure(server, target)
    assert re.fullmatch(rf"{server.url}: .+; {HALF} of {len(CONTENT)} bytes are kept for the next try", line)
    assert partial(target).read_bytes() == CONTENT[:HALF]
    server.cuts = []
    assert fetch(server, target).read_bytes() == CONTENT


def test_a_wrong_hash_is_named_and_nothing_is_kept(server, tmp_path):
    server.body = b"x" + CONTENT[1:]
    found, expected = (hashlib.sha256(content).hexdigest() for content in (server.body, CONTENT))
    line = failure(server, tmp_path / "set.bin")
    assert line == f"{server.url}: SHA-256 {found} found, expected {expected}; nothing is kept"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [CONTENT[:HALF], CONTENT + b"more", b"<html>please log in</html>"])
def test_another_size_is_refused_before_it_is_fetched(server, tmp_path, body):
    server.body = body
    line = failure(server, tmp_path / "set.bin")
    assert line == f"{server.url}: {len(body)} bytes found, expected {len(CONTENT)}"
    assert partial(tmp_path / "set.bin").read_bytes() == b""


def test_a_partial_file_that_is_longer_than_the_file_is_thrown_away(server, tmp_path):
    partial(tmp_path / "set.bin").write_bytes(CONTENT + b"more")
    assert "expected" in failure(server, tmp_path / "set.bin")
    assert fetch(server, tmp_path / "set.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (503, 4), (429, 4)])
def test_only_what_may_pass_is_tried_again(server, tmp_path, status, asked):
    server.status = status
    assert f"the server answers {status}" in failure(server, tmp_path / "set.bin")
    assert len(server.asked) == asked


def test_a_target_that_is_there_is_neither_fetched_nor_written(server, tmp_path):
    target = tmp_path / "set.bin"
    target.write_bytes(CONTENT)
    target.chmod(0o444)
    before = target.stat().st_mtime_ns
    fetch(server, target)
    assert (server.asked, target.stat().st_mtime_ns, list(tmp_path.iterdir())) == ([], before, [target])


@pytest.mark.parametrize("held", [b"x" + CONTENT[1:], CONTENT[:HALF]])
def test_another_file_under_the_name_is_left_alone_and_named(server, tmp_path, held):
    target = tmp_path / "set.bin"
    target.write_bytes(held)
    with pytest.raises(LayerLotteryError, match=rf"^{target}: .* found, expected .*; delete it, or put .*{server.url}"):
        fetch(server, target)
    assert target.read_bytes() == held
    assert server.asked == []


def test_two_downloads_of_one_file_are_one(server, tmp_path):
    target = tmp_path / "set.bin"
    failed = []

    def run():
        try:
            fetch(server, target)
        except LayerLotteryError as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert target.read_bytes() == CONTENT
    assert (len(server.asked), list(tmp_path.iterdir())) == (1, [target])


def test_a_place_that_takes_no_file_is_named(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert failure(server, tmp_path / "file" / "set.bin") == f"{tmp_path / 'file'}: File exists"
    assert server.asked == []


@pytest.fixture
def small_files():
    """No file of this process may grow beyond HALF bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_named(server, tmp_path, small_files):
    assert failure(server, tmp_path / "set.bin") == f"{tmp_path / 'set.bin'}: File too large"
    assert partial(tmp_path / "set.bin").stat().st_size == HALF


@pytest.mark.parametrize(
    "url", ["http://example.org/set.bin", "file:///etc/passwd", "ftp://localhost/set.bin", "set.bin"]
)
def test_only_https_is_asked(server, tmp_path, url):
    assert failure(server, tmp_path / "set.bin", url=url).startswith(f"{url}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["http://example.org/set.bin", "file:///etc/passwd"])
def test_no_redirection_leads_away_from_https(server, tmp_path, location):
    server.status, server.location = 302, location
    assert re.search("allowed: https$|not allowed$", failure(server, tmp_path / "set.bin"))


def test_an_address_that_does_not_answer_is_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    assert failure(server, tmp_path / "set.bin").startswith(f"{server.url}: [Errno 111] Connection refused; 0 of")


def test_bytes_are_read_only_with_the_right_hash(server, tmp_path):
    (tmp_path / "set.bin").write_bytes(CONTENT)
    assert read_verified(server.file(), tmp_path / "set.bin") == CONTENT
    with pytest.raises(LayerLotteryError, match="SHA-256"):
        read_verified(server.file(sha256="0" * 64), tmp_path / "set.bin")


# files whose size, or SHA-256, no publisher tells


@pytest.mark.parametrize("announces", [True, False])
def test_a_file_of_unknown_size_arrives_whole(server, tmp_path, announces):
    server.announces = announces
    assert fetch(server, tmp_path / "set.bin", **UNKNOWN_SIZE).read_bytes() == CONTENT
    assert (server.asked, list(tmp_path.iterdir())) == ([None], [tmp_path / "set.bin"])


def test_a_file_of_unknown_size_goes_on_where_it_was_interrupted(server, tmp_path):
    server.cuts = [HALF, 100_000, 0]
    assert fetch(server, tmp_path / "set.bin", **UNKNOWN_SIZE).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={HALF}-", *[f"bytes={HALF + 100_000}-"] * 2]


def test_what_came_of_a_file_of_unknown_size_is_kept_for_the_next_call(server, tmp_path):
    target = tmp_path / "set.bin"
    server.cuts = [HALF] + [0] * 100
    line = failure(server, target, **UNKNOWN_SIZE)
    assert line == f"{server.url}: the connection was closed too early; {HALF} bytes are kept for the next try"
    server.cuts, server.asked = [], []
    assert fetch(server, target, **UNKNOWN_SIZE).read_bytes() == CONTENT
    assert server.asked == [f"bytes={HALF}-"]


def test_a_whole_file_of_unknown_size_is_not_fetched_again(server, tmp_path):
    partial(tmp_path / "set.bin").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "set.bin", **UNKNOWN_SIZE).read_bytes() == CONTENT
    assert server.asked == []


def test_a_partial_file_beyond_an_unknown_end_is_thrown_away(server, tmp_path):
    partial(tmp_path / "set.bin").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "set.bin", **UNKNOWN_SIZE).read_bytes() == CONTENT


def test_a_wrong_md5_is_named_and_nothing_is_kept(server, tmp_path):
    server.body = b"<html>please log in</html>"
    found = hashlib.md5(server.body).hexdigest()  # noqa: S324
    line = failure(server, tmp_path / "set.bin", **UNKNOWN_SIZE)
    assert line == f"{server.url}: MD5 {found} found, expected {MD5}; nothing is kept"
    assert list(tmp_path.iterdir()) == []


def test_the_sha256_counts_where_both_hashes_are_known(server, tmp_path):
    (tmp_path / "set.bin").write_bytes(CONTENT)
    verify(server.file(md5="0" * 32), tmp_path / "set.bin")
    with pytest.raises(LayerLotteryError, match="SHA-256"):
        verify(server.file(sha256="0" * 64, md5=MD5), tmp_path / "set.bin")


@pytest.mark.parametrize("read", [verify, read_verified])
@pytest.mark.parametrize("held", [CONTENT[:HALF], b"x" + CONTENT[1:]])
def test_a_local_file_with_another_md5_is_named_and_left_alone(server, tmp_path, read, held):
    (tmp_path / "set.bin").write_bytes(held)
    with pytest.raises(LayerLotteryError, match=rf"^{tmp_path}/set.bin: MD5 .* expected {MD5}; delete it, or put"):
        read(server.file(**UNKNOWN_SIZE), tmp_path / "set.bin")
    assert (tmp_path / "set.bin").read_bytes() == held


def test_a_file_that_nothing_vouches_for_is_no_published_file():
    with pytest.raises(ValueError, match="no hash"):
        Published("https://localhost/gone", 1)


def test_a_large_file_is_checked_in_little_memory(tmp_path):
    size = 1 << 25
    with (tmp_path / "large").open("wb") as large:
        large.truncate(size)
    file = Published("https://localhost/gone", md5=hashlib.md5(bytes(size)).hexdigest())  # noqa: S324
    tracemalloc.start()
    try:
        verify(file, tmp_path / "large")
        assert tracemalloc.get_traced_memory()[1] < size // 8
    finally:
        tracemalloc.stop()


def test_an_unfinished_file_is_never_a_link(server, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    partial(tmp_path / "set.bin").symlink_to(mine)
    assert failure(server, tmp_path / "set.bin").startswith(str(partial(tmp_path / "set.bin")))
    assert mine.read_text() == "mine"
