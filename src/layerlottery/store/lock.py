"""One benchmark at a time in a results folder: a lock that the kernel frees when its holder dies, however it dies.

The lock is an flock on a file, which stays behind and proves nothing; what it says of its holder is for messages.
A program started by the holder does not inherit the lock, so jobs that outlive a killed Snakemake don't keep it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shlex
import socket
import stat
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from layerlottery.errors import LayerLotteryError

NAME = ".lock"
# of the last Snakemake's command, what says which benchmark it was and where its jobs ran
OPTIONS = (
    *("--configfile", "--configfiles", "--config", "-C", "--profile", "--workflow-profile"),
    # and where their files went
    *("--default-storage-provider", "--default-storage-prefix", "--shared-fs-usage"),
)
# errors of a network file system without locks
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
# a process that only checks holds the lock for an instant, so a new holder retries before it gives up
TRIES, PAUSE = 5, 0.05


@dataclass
class FolderLock:
    """A held lock: until `release`, or the end of this process; forgetting the object frees nothing."""

    path: Path
    descriptor: int

    def __post_init__(self) -> None:
        # a forked child that outlives this process must not keep its lock; programs it starts lose it by themselves
        os.register_at_fork(after_in_child=self.release)

    def release(self) -> None:
        """Let it go; a second time does nothing. In a forked child it stays the parent's."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def acquire(results: Path) -> FolderLock | None:
    """Take the lock of a results folder, which is made if missing; None, with a warning, where there are no locks.

    Raises LayerLotteryError when another process has it, or the folder can't be written.
    """
    path = results / NAME
    try:
        results.mkdir(parents=True, exist_ok=True)
        for _ in range(TRIES):
            lock = try_lock(path)
            if lock is not None:
                return lock
            time.sleep(PAUSE)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise _unusable(path, error) from error
        reason = "%s: this file system offers no locks (%s); run one benchmark at a time in this folder"
        logging.getLogger("layerlottery").warning(reason, path, error.strerror)
        return None
    raise LayerLotteryError(
        f"{results}: in use by another benchmark ({holder(path)}); wait until it ends or stop it;"
        " a benchmark beside it needs another `results`"
    )


def held(results: Path) -> bool:
    """Whether a process has the lock of a results folder; False where there are no locks."""
    path = results / NAME
    try:
        descriptor = _open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        # shared: two that ask at once don't see each other
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise _unusable(path, error) from error
    finally:
        os.close(descriptor)
    return False


def try_lock(path: Path) -> FolderLock | None:
    """Take the lock on a file, which is made if missing; None while another process has it, OSError if it can't be."""
    descriptor = _open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a lock on a file that was deleted meanwhile excludes no one
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            _sign(descriptor)
            return FolderLock(path, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def holder(path: Path) -> str:
    """Process, machine, start and command of a lock's last holder, as its file states them."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        text = f"process {said['pid']} on {said['host']} since {said['start']}: {said['command']}"
        return " ".join(text.split())
    except (OSError, ValueError, LookupError, TypeError):
        return "which has not said who it is"


def _open(path: Path, flags: int) -> int:
    # Python opens close-on-exec; without O_NONBLOCK a named pipe would wait for its other end
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _sign(descriptor: int) -> None:
    start = datetime.now().astimezone().isoformat(timespec="seconds")
    command = shlex.join(sys.argv)
    said = {"pid": os.getpid(), "host": socket.gethostname(), "start": start, "command": command}
    line = json.dumps(said | {"job": os.environ.get("SLURM_JOB_ID")})
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{line}\n".encode(), 0)
    except OSError:  # a full disk: the lock holds without a word about its holder
        return


def _unusable(path: Path, error: OSError) -> LayerLotteryError:
    if error.errno == errno.ELOOP:
        return LayerLotteryError(f"{path}: is a symbolic link; delete it, a lock is never taken through one")
    reason = error.strerror or str(error)
    return LayerLotteryError(f"{path}: can't be locked ({reason}); `results` must be a folder that you may write to")


def options_of(results: Path) -> list[str]:
    """Configuration options of the last Snakemake here, as recorded in the lock's file."""
    try:
        words = shlex.split(json.loads((results / NAME).read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, LookupError, TypeError):
        return []
    chosen, wanted = [], False
    for word in words:
        if word.startswith("-"):
            wanted = word.partition("=")[0] in OPTIONS
        if wanted:
            chosen.append(word)
    return chosen
