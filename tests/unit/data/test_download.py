"""Downloads from a server on this machine that fails in every way it is told to."""

import contextlib
import hashlib
import http.server
import logging
import re
import resource
import threading

import numpy as np
import pytest

from layerlottery.data.download import Published, download, read_verified
from layerlottery.errors import LayerLotteryError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
HALF = 1 << 19


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; `cuts` are the bytes after which each answer in turn breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.ranges, self.cuts, self.status, self.location = CONTENT, True, [], 200, None
        self.asked, self.stalls, self.released = [], 0, threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/set.bin"

    def file(self, **changes):
        given = {"url": self.url, "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
        return Published(**given | changes)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        beyond = start >= len(server.body)
        status = server.status if server.status != 200 else 416 if beyond else 206 if start else 200
        self.send_response(status)
        if server.location:
            self.send_header("Location", server.location)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        body = server.body[start:] if status in (200, 206) else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has seen enough goes away
            self.wfile.write(body[: server.cuts.pop(0) if server.cuts else None])
        if server.stalls:
            server.stalls -= 1
            server.released.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


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
    assert re.search("allowed is https$|not allowed$", failure(server, tmp_path / "set.bin"))


def test_an_address_that_does_not_answer_is_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    assert failure(server, tmp_path / "set.bin").startswith(f"{server.url}: [Errno 111] Connection refused; 0 of")


def test_bytes_are_read_only_with_the_right_hash(server, tmp_path):
    (tmp_path / "set.bin").write_bytes(CONTENT)
    assert read_verified(server.file(), tmp_path / "set.bin") == CONTENT
    with pytest.raises(LayerLotteryError, match="SHA-256"):
        read_verified(server.file(sha256="0" * 64), tmp_path / "set.bin")
