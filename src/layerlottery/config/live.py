"""Live curves: the trackers that a training reports to. No result depends on them, and no rule carries them.

They reach a training through its environment, which every process that runs the Snakefile sets anew, on a node of a
cluster too. So switching them on or off changes no job's parameters, and runs nothing again.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from pydantic import Field

from layerlottery.config.base import Name, Settings
from layerlottery.config.choices import LOGGING

SERVER = "MLFLOW_TRACKING_URI"
# each tracker's module; the extra that installs it has the tracker's name
MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}


class LoggingSettings(Settings):
    """Where learning curves can be watched while networks train."""

    tensorboard: bool = Field(False, description="event files for TensorBoard, in the folder live of the results")
    wandb: Name | None = Field(None, description="project of Weights & Biases; null is off")
    mlflow: Name | None = Field(None, description="experiment of MLflow, at MLFLOW_TRACKING_URI; null is off")

    def trackers(self) -> dict[str, str]:
        """The trackers that are switched on, and the project of each; TensorBoard knows none."""
        given = {name: getattr(self, name) for name in MODULES}
        return {name: "" if project is True else project for name, project in given.items() if project}

    def missing(self) -> list[str]:
        """A line for each tracker that can't be told anything here."""
        lines = [absent(name) for name in self.trackers() if find_spec(MODULES[name]) is None]
        if self.mlflow and not os.environ.get(SERVER):
            # files of its own it has only in the whole of MLflow: the extra is its client
            lines.append(f"logging.mlflow: found {self.mlflow}; allowed where {SERVER} names a server")
        return lines

    def announce(self) -> None:
        """Tell the trainings that this process starts, in place of whatever they were told before."""
        os.environ.pop(LOGGING, None)
        if self.trackers():
            os.environ[LOGGING] = self.slice()


def absent(name: str) -> str:
    """What to say of a tracker whose package is missing."""
    return (
        f"logging.{name}: the package {MODULES[name]} is not installed, so nothing is reported to it: "
        f"pip install 'layerlottery[{name}]'"
    )
