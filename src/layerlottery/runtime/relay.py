"""SIGTERM inside a SLURM job: SLURM tells it to a job step's first process alone, and that is Snakemake.

Snakemake then waits for the jobs that it runs, but says nothing to them; here they hear it too, so that a training can
save its checkpoint while there is time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading


def relay_sigterm() -> None:
    """Pass SIGTERM on to the processes that this one has started, each time it comes; for the main thread.

    Whatever handler this process has or gets for itself is called as well; without one it just dies.
    """
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    # not signal.signal: Snakemake installs its own handler later
    signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(ear,), daemon=True).start()


def _listen(ear: int) -> None:
    import psutil

    while True:
        for number in os.read(ear, 64):
            if number != signal.SIGTERM:
                continue
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.terminate()
