"""One process at a time works on a training, even where a job outlived its Snakemake and another follows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from layerlottery import paths
from layerlottery.errors import Suspended
from layerlottery.runtime.stop import Stop
from layerlottery.store.lock import UNSUPPORTED, FolderLock, holder, try_lock

log = logging.getLogger(__name__)

POLL_SECONDS, SAY_SECONDS = 0.5, 60.0


@contextmanager
def alone(checkpoint: Path | None) -> Iterator[bool]:
    """Hold the lock beside a checkpoint while the block runs; waits for it. Yields whether it had to wait.

    Without a checkpoint nothing is held.
    """
    with holding(None if checkpoint is None else Path(paths.training_lock(str(checkpoint)))) as waited:
        yield waited


@contextmanager
def holding(path: Path | None, stop: Stop | None = None) -> Iterator[bool]:
    """Hold a training's lock while the block runs; waits for it. Yields whether it had to wait.

    The kernel frees the lock when its holder dies. Without a path, or where the file system has no locks, nothing is
    held: two processes then write the same bytes. Raises Suspended when `stop` is requested during the wait.
    """
    lock, waited = (None, False) if path is None else _wait(path, stop)
    try:
        yield waited
    finally:
        if lock is not None:
            # while it is held: who opened it meanwhile sees that it is gone
            lock.path.unlink(missing_ok=True)
            lock.release()


def _wait(path: Path, stop: Stop | None) -> tuple[FolderLock | None, bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    began, said = time.monotonic(), -SAY_SECONDS
    while True:
        try:
            lock = try_lock(path)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return None, False
        if lock is not None:
            return lock, said >= 0
        waited = time.monotonic() - began
        if waited - said >= SAY_SECONDS:
            log.info("waiting: another process works on this training (%s)", holder(path))
            said = waited
        if stop is not None and stop.requested:
            raise Suspended("another process works on this training, the same command takes over what it finishes")
        time.sleep(POLL_SECONDS)
