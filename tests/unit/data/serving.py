"""A server on this machine that fails in every way it is told to."""

import contextlib
import hashlib
import http.server
import re
import threading

import numpy as np

from layerlottery.data.download import Published

CONTENT = np.random.default_rng(0).bytes(1_000_000)
HALF = 1 << 19


class Server(http.server.ThreadingHTTPServer):
    """Serves `body`; `cuts` are the bytes after which each answer in turn breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.ranges, self.cuts, self.status, self.location = CONTENT, True, [], 200, None
        self.announces = True
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
        if server.announces:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # who has seen enough goes away
            self.wfile.write(body[: server.cuts.pop(0) if server.cuts else None])
        if server.stalls:
            server.stalls -= 1
            server.released.wait(10)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def running():
    """A server that answers until the block ends."""
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield serving
        finally:
            serving.shutdown()
            thread.join()
