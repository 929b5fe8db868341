"""Trackers that show learning curves: TensorBoard, Weights & Biases, MLflow. Each is one class with two methods.

TensorBoard's event files are written with tensorboardX, which needs protobuf and numpy alone: torch's own writer wants
the whole of TensorBoard with its web server, and imports torch into the process that writes. Packages are imported when
a tracker is opened.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from layerlottery.config.live import SERVER
from layerlottery.errors import LayerLotteryError

EVENTS = "events"  # their files' names begin with it


@dataclass(frozen=True)
class Watched:
    """A training as a tracker is told of it.

    `facts` are its hyperparameters, and where it stands in the benchmark. `id` is the tracker's own of an earlier
    segment of the same training, "" for a new one, and `written` the last epoch that it was told of then.
    """

    folder: Path
    name: str
    facts: Mapping[str, str | int | float | bool]
    project: str
    id: str = ""
    written: int = 0


class Tracker(Protocol):
    """An open run of a tracker: its id, "" where it needs none, and the last epoch that it holds."""

    id: str
    written: int

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add one epoch's values; they are on disk, or handed over, when this returns."""

    def close(self, *, finished: bool) -> None:
        """End the run, or let it wait for a training that goes on later."""


class TensorBoard:
    """A file of events for each segment. It hides what an earlier one wrote of the epochs that it begins with.

    A training that begins anew in the same place has the place for itself: of hyperparameters TensorBoard shows the
    first that it finds.
    """

    def __init__(self, run: Watched) -> None:
        # not SummaryWriter: its thread dies of a full disk without a word, and its flush then waits for ever
        with _without_torch():
            from tensorboardX import summary
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.id, self.written = "", run.written
        self._event, self._scalar = Event, summary.scalar
        folder = run.folder / run.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{EVENTS}.out.tfevents.*") if not run.written else ():
            old.unlink(missing_ok=True)
        # two segments may begin within one second, of which their names are made
        self._file = EventsWriter(str(folder / EVENTS), f".{os.getpid()}")
        self._add(step=run.written + 1, session_log=SessionLog(status=SessionLog.START))
        experiment, begin, self._end = summary.hparams(dict(run.facts), {"accuracy/test": 0.0})
        self._add(summary=experiment)
        self._add(summary=begin)
        self._file.flush()

    def _add(self, **content: Any) -> None:
        self._file.write_event(self._event(wall_time=time.time(), **content))

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._add(step=epoch, summary=self._scalar(name, value))
        self._file.flush()

    def close(self, *, finished: bool) -> None:
        if finished:
            self._add(summary=self._end)
        self._file.close()


class WeightsAndBiases:
    """A run in the project; where it goes, and whether at once, is said by W&B's own variables (WANDB_MODE, ...)."""

    def __init__(self, run: Watched) -> None:
        import wandb

        self.id, self.written = run.id or uuid.uuid4().hex[:12], run.written
        run.folder.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        self._run = wandb.init(
            project=run.project,
            id=self.id,
            name=_spaced(run.name),
            config=dict(run.facts),
            dir=run.folder,
            # without a connection each segment is a run of its own on disk, and `wandb sync` joins them by the id
            resume=None if os.environ.get("WANDB_MODE") == "offline" else "allow",
            settings=quiet,
        )

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=epoch, commit=True)

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MLflow:
    """A run in the experiment, on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: Watched) -> None:
        if not os.environ.get(SERVER):
            raise LayerLotteryError(f"{SERVER} names no server")
        import mlflow
        from mlflow.entities import Metric

        self._metric, self._client = Metric, mlflow.MlflowClient()
        self.id, self.written = run.id, run.written
        if self.id:
            self._client.update_run(self.id, status="RUNNING")
            held = self._client.get_metric_history(self.id, "learning_rate")
            self.written = max([self.written, *(one.step for one in held)])
            return
        experiment = mlflow.set_experiment(run.project).experiment_id
        self.id = self._client.create_run(experiment, run_name=_spaced(run.name)).info.run_id
        for name, value in run.facts.items():
            self._client.log_param(self.id, name, value)

    def write(self, epoch: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self.id, [self._metric(name, value, now, epoch) for name, value in values.items()])

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


@contextmanager
def _without_torch() -> Iterator[None]:
    """tensorboardX imports torch where it can, to draw networks: twenty times what all the rest takes."""
    if "torch" in sys.modules:
        yield
        return
    # an entry of None makes an import fail at once, which the stubs of sys do not know
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


def _spaced(name: str) -> str:
    return name.replace("/", " ")


TRACKERS: dict[str, Callable[[Watched], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
