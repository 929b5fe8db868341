"""SIGTERM inside a SLURM job: SLURM tells it to a job step's first process alone, and that is Snakemake.

Snakemake then waits for the jobs that it runs, but says nothing to them; here they hear it too, so that a training can
save its checkpoint while there is time. And Snakemake, told to stop, counts its job as failed, also if it had done its
work or not begun; so the job is queued again at the end.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from layerlottery.runtime.requeue import requeue

# between looks for processes that were just being started when the signal came
PAUSE = 0.5
END = b"\0"


def relay_sigterm(resumes: Callable[[], bool] = lambda: False) -> None:
    """Pass SIGTERM on to the processes that this one has started, each time it comes; for the main thread.

    Whatever handler this process gets for itself is called as well; until then it exits. `resumes` is asked at the end
    whether its work goes on where it stopped, for the request to SLURM.
    """
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    # not only signal.signal: Snakemake installs its own handler later
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    heard = threading.Event()
    listener = threading.Thread(target=_listen, args=(ear, heard), daemon=True)
    listener.start()

    def end() -> None:
        # from here on Python's own end would let a signal replace the status
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(mouth, END)
        listener.join()
        if heard.is_set():
            requeue(resumes=resumes())

    atexit.register(end)


def tell_children(told: set[Any], number: int) -> None:
    """Send a signal to the processes that this one has started, but for those `told` before, which it adds to."""
    import psutil

    for child in set(psutil.Process().children()) - told:
        told.add(child)
        with contextlib.suppress(psutil.NoSuchProcess):
            child.send_signal(number)


def _listen(ear: int, heard: threading.Event) -> None:
    told: set[Any] = set()
    while True:
        ready, _, _ = select.select([ear], [], [], PAUSE if heard.is_set() else None)
        numbers = os.read(ear, 64) if ready else b""
        if signal.SIGTERM in numbers:
            heard.set()
            told.clear()
        if heard.is_set():
            tell_children(told, signal.SIGTERM)
        if END in numbers:
            return
