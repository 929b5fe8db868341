"""What this process and its jobs print, held back to be shown line by line: on a terminal it would tear the display."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator

from layerlottery.runtime.protocol import fill_streams

STREAMS = (1, 2)


class Capture:
    """Standard output and error of this process, and of those that it starts, until `restore`.

    They go into a file without a name, not into a pipe: jobs that outlive a killed Snakemake can still write.
    """

    def __init__(self) -> None:
        fill_streams()
        self._file, self._read, self._rest = _file(), 0, b""
        self._before = {}
        _flush()
        for number in STREAMS:
            self._before[number] = os.dup(number)
            os.dup2(self._file, number)

    def lines(self, *, last: bool = False) -> Iterator[str]:
        """Whole lines that came since the last call; at the `last` one also a line that has no end."""
        _flush()
        while part := os.pread(self._file, 1 << 16, self._read):
            self._read += len(part)
            self._rest += part
        *lines, self._rest = self._rest.split(b"\n")
        if last and self._rest:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")

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
