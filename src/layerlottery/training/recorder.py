"""The process that tells trackers of a training, so that whatever happens to them does not happen to the training.

It reads lines of JSON from its standard input: the header, then a row of the learning curve for each epoch, `null` at
the end of the last one. When the pipe closes without that, the training was stopped or killed; what was said before is
told all the same. Problems are lines on its standard output. Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from layerlottery.config.live import absent
from layerlottery.training.trackers import TRACKERS, Tracker, Watched
from layerlottery.words import one_line

# beside TensorBoard's files: what each tracker holds of a training that has not ended
STATE = "state.json"
ID = re.compile(r"[\w-]{0,64}", re.ASCII)
# for a tracker that does not come to an end after the training, seconds
PATIENCE = 60
LONGEST = 300  # characters of an error that a tracker's package has written
# what a tracker shows together has one word before the slash
GROUPED = {
    "train_loss": "loss/train",
    "test_loss": "loss/test",
    "train_accuracy": "accuracy/train",
    "test_accuracy": "accuracy/test",
}


@dataclass
class Recorder:
    """Open trackers of one training; one that fails is left out from then on, and the others go on.

    `wanted` names trackers and their projects. An epoch is told once, also by a training that was stopped between two
    checkpoints and passes it again: `fingerprint` says whether what was told before is of the same training.
    """

    folder: Path
    name: str
    facts: Mapping[str, Any]
    images: int
    fingerprint: str
    wanted: Mapping[str, str]
    say: Callable[[str], None]
    trackers: dict[str, Tracker] = field(default_factory=dict)
    forgetful: bool = False

    def __post_init__(self) -> None:
        self.state = self.folder / self.name / STATE
        before = self._held()
        for name, project in self.wanted.items():
            run = Watched(self.folder, self.name, self.facts, project, **before.get(name, {}))
            with self._leaving_out(name):
                self.trackers[name] = TRACKERS[name](run)
        self._keep()

    def record(self, row: Mapping[str, float]) -> None:
        """Tell every tracker of an epoch that it does not hold yet."""
        epoch = int(row["epoch"])
        values = {GROUPED.get(name, name): value for name, value in row.items() if name != "epoch"}
        values["images_per_second"] = self.images / row["seconds"] if row["seconds"] else 0.0
        for name, tracker in [*self.trackers.items()]:
            if epoch > tracker.written:
                with self._leaving_out(name):
                    tracker.write(epoch, values)
                    tracker.written = epoch
        self._keep()

    def close(self, *, finished: bool) -> None:
        """End the runs. What was told of a training that has `finished` is not gone on with."""
        for name, tracker in [*self.trackers.items()]:
            with self._leaving_out(name):
                tracker.close(finished=finished)
        if finished:
            with suppress(OSError):
                self.state.unlink()

    def _held(self) -> dict[str, dict[str, Any]]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            held = json.loads(self.state.read_text(encoding="utf-8"))
            if held["fingerprint"] == self.fingerprint:
                return {
                    name: {"id": one["id"], "written": int(one["written"])}
                    for name, one in held["trackers"].items()
                    # trackers make files and addresses of it, and a results folder may be somebody else's
                    if ID.fullmatch(one["id"])
                }
        return {}

    def _keep(self) -> None:
        told = {name: {"id": one.id, "written": one.written} for name, one in self.trackers.items()}
        # one that was left out goes on where it stopped, in the training's next segment
        held = {"fingerprint": self.fingerprint, "trackers": self._held() | told}
        temporary = self.state.with_name(f".{STATE}.{os.getpid()}")
        try:
            self.state.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(held, file)
            temporary.replace(self.state)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            if self.trackers and not self.forgetful:
                self._say(f"{self.state}: {error.strerror}; a resumed training may tell an epoch twice")
            self.forgetful = True

    def _leaving_out(self, name: str) -> _LeavingOut:
        return _LeavingOut(self, name)

    def _say(self, text: str) -> None:
        self.say(one_line(text)[:LONGEST])


@dataclass
class _LeavingOut:
    """Whatever a tracker raises within the block is said in one line, and the tracker is left out."""

    recorder: Recorder
    name: str

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if error is None:
            return False
        self.recorder.trackers.pop(self.name, None)
        said = f"{self.name}: no more live curves of {self.recorder.name}: {type(error).__name__}: {error}"
        self.recorder._say(absent(self.name) if isinstance(error, ModuleNotFoundError) else said)
        return True


def _rows(lines: Iterable[str]) -> Iterable[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # the training was killed within a line
            return


def _own_output() -> TextIO:
    """Standard output for this process alone: packages may print what they like, to nowhere."""
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    return mine


def _leave_in_time() -> None:
    """End this process some time after the training closed the pipe, also where a tracker hangs."""
    pipe = select.poll()
    pipe.register(0, 0)  # its closing, which is always told
    pipe.poll()
    time.sleep(PATIENCE)
    os._exit(1)


def main() -> None:
    """Record one training, to the end of the pipe that it holds."""
    threading.Thread(target=_leave_in_time, daemon=True).start()
    # in a terminal's group and in a job's they are meant for the training
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    output = _own_output()

    def say(text: str) -> None:
        with suppress(OSError):
            print(text, file=output, flush=True)

    rows, finished = iter(_rows(sys.stdin)), False
    header = next(rows, None)
    if header is None:
        return
    before = header.pop("rows")
    recorder = Recorder(**header | {"folder": Path(header["folder"])}, say=say)
    for row in before:
        recorder.record(row)
    for row in rows:
        if row is None:
            finished = True
        else:
            recorder.record(row)
    recorder.close(finished=finished)


if __name__ == "__main__":
    main()
