"""Live curves: each epoch's row goes to another process, which tells the trackers (recorder.py).

The training never waits for it but once: at most a few seconds at its end, for what is still on its way.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.config.live import LoggingSettings
from layerlottery.training.session import Session
from layerlottery.words import one_line

log = logging.getLogger(__name__)

Row = dict[str, float]

# by name: it imports trackers' packages, and this process must not
RECORDER = "layerlottery.training.recorder"
# for the end of what was handed over, seconds; the process then goes on alone for a minute
PATIENCE, POLL_SECONDS = 10.0, 0.02
# of a ticket's name, what goes without saying
USUAL = {"structure": "layers", "scored_at": "init", "rewind": "0", "draw": "0"}


@contextmanager
def live_curves(wanted: LoggingSettings, output: Path, session: Session) -> Iterator[Callable[[Row], None]]:
    """Yield a function to be called with each row of the learning curve; it raises nothing.

    Trackers are told of all epochs before, too, so far as they don't know them. Leaving the block by an exception
    leaves their runs open, for the training to go on with.
    """
    recorder = None
    if wanted.trackers():
        try:
            recorder = _Recorder(header(wanted, output, session))
        except OSError as error:
            log.warning("no live curves: %s", error)
    if recorder is None:
        yield lambda row: None
        return
    try:
        yield recorder.send
        recorder.send(None)
    finally:
        recorder.close()


def header(wanted: LoggingSettings, output: Path, session: Session) -> dict[str, Any]:
    """All that a recorder needs to know of a training that writes into `output`."""
    trainer = session.trainer
    folder, name, facts = named(output)
    return {
        "folder": folder,
        "name": name,
        "facts": facts | plain(trainer.settings.model_dump(mode="json")),
        "images": len(trainer.data.train),
        "fingerprint": session.fingerprint,
        "wanted": wanted.trackers(),
        "rows": session.progress.curve,
    }


def named(output: Path) -> tuple[str, str, dict[str, str | int]]:
    """The folder of live curves for a training's results, its readable name there, and its place in the benchmark.

    `results/live` and `digits/resnet20 snip removed=2 seed=0`, say; outside of a results folder, the folder `live`
    within `output` itself.
    """
    found = paths.located(output)
    if found is None:
        name = one_line(output.absolute().name) or "training"
        return str(output / paths.LIVE), name, {}
    words = {"criterion": "dense", "removed": "0", **paths.wildcards(found[1])}
    unusual = [f"{key}={words[key]}" for key, usual in USUAL.items() if words.get(key, usual) != usual]
    removed = [f"removed={words['removed']}"] if "structure" in words else []
    shown = [words["network"], words["criterion"], *removed, *unusual, f"seed={words['seed']}"]
    facts = {key: int(word) if word.isdecimal() else word for key, word in words.items()}
    return paths.Folders(found[0]).live, f"{words['dataset']}/{' '.join(shown)}", facts


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as trackers take them: lists as text."""
    return {key: json.dumps(value) if isinstance(value, list) else value for key, value in settings.items()}


class _Recorder:
    """The other process, and what it has not yet taken; raises OSError where none can be started."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.waiting = b""
        # -P: not from the current folder, where a user's random.py may lie
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", RECORDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.inlet, self.outlet = self.process.stdin, self.process.stdout
        for stream in (self.inlet, self.outlet):
            os.set_blocking(stream.fileno(), False)
        self.send(header)

    def send(self, value: dict[str, Any] | None) -> None:
        """Hand over one value as far as the pipe takes it; the rest goes with the next one."""
        self.waiting += json.dumps(value).encode() + b"\n"
        self._push()
        self._hear()

    def close(self) -> None:
        """Wait for the end of what was handed over, but not for long."""
        limit = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < limit:
            self._push()
            if not self.waiting:
                self.inlet.close()
            self._hear()
            time.sleep(POLL_SECONDS)
        self.inlet.close()
        self._hear()
        if self.process.returncode is None:
            log.warning("live curves: not all is told after %d s; the training does not wait for it", PATIENCE)
        elif self.process.returncode:
            log.warning("live curves: ended with status %d before all was told", self.process.returncode)

    def _push(self) -> None:
        try:
            if self.waiting:
                self.waiting = self.waiting[os.write(self.inlet.fileno(), self.waiting) :]
        except BlockingIOError:
            pass
        except OSError:  # it has ended; how is said at the end
            self.waiting = b""

    def _hear(self) -> None:
        with suppress(OSError):
            for line in (self.outlet.read() or b"").decode(errors="replace").splitlines():
                log.warning("%s", line)
