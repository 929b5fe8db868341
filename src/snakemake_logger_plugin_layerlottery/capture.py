"""What this process and its jobs print, held back to be shown line by line: on a terminal it would tear the display."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator

from layerlottery.runtime.protocol import fill_streams

STREAMS = (1, 2)
PIECE = 1 << 16  # bytes
MOST = 1 << 18  # bytes of one look: a job that prints millions of lines must not hold up the others


class Capture:
    """Standard output and error of this process, and of those that it starts, until `restore`.

    They go into a file without a name, not into a pipe: jobs that outlive a killed Snakemake can still write.
    """

    def __init__(self) -> None:
        fill_streams()
        self._file, self._read, self._freed, self._rest = _file(), 0, 0, b""
        self.dropped = 0  # lines
        self._before = {}
        _flush()
        for number in STREAMS:
            self._before[number] = os.dup(number)
            os.dup2(self._file, number)

    def lines(self, *, last: bool = False) -> Iterator[str]:
        """Whole lines that came since the last call; at the `last` one also a line that has no end.

        Of what came beyond MOST bytes only the number of lines is kept, in `dropped`.
        """
        _flush()
        *lines, self._rest = self._come().split(b"\n")
        if self._rest and (last or len(self._rest) >= MOST):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")

    def _come(self) -> bytes:
        """What came since the last call, behind the line that had no end then."""
        parts, length, beyond = [self._rest], len(self._rest), 0
        size = os.fstat(self._file).st_size  # what is written meanwhile waits for the next look
        while self._read < size and (part := os.pread(self._file, PIECE, self._read)):
            self._read += len(part)
            if length < MOST:
                parts.append(part)
                length += len(part)
            else:
                beyond += part.count(b"\n")
        self._free()
        come = b"".join(parts)
        if beyond and not come.endswith(b"\n"):
            # the line that is cut is kept
            come, beyond = come + b"\n", beyond - 1
        self.dropped += beyond
        return come

    def _free(self) -> None:
        """Give back the memory of what was read. Truncating the file instead would lose what comes at that moment."""
        end = self._read - self._read % mmap.ALLOCATIONGRANULARITY
        if end > self._freed and hasattr(mmap, "MADV_REMOVE"):
            with (
                contextlib.suppress(OSError),
                mmap.mmap(self._file, end - self._freed, offset=self._freed) as read,
            ):
                read.madvise(mmap.MADV_REMOVE)
            self._freed = end

    def restore(self) -> None:
        """Put the streams back."""
        _flush()
        for number, before in self._before.items():
            os.dup2(before, number)
            os.close(before)
        os.close(self._file)


def _flush() -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()


def _file() -> int:
    """In memory where that can be had: a full disk is one of the things that jobs have to say."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("layerlottery")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
