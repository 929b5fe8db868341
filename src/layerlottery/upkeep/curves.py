"""The learning curves of finished trainings, told to trackers afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from layerlottery import paths
from layerlottery.config.live import LoggingSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_table
from layerlottery.training.live import named, plain
from layerlottery.training.recorder import Recorder
from layerlottery.words import counted


def tell(results: Path, wanted: LoggingSettings) -> Iterator[str]:
    """Tell trackers of every finished training below `results`; yields a line for each problem, and a total.

    Raises LayerLotteryError where there is no curve, no tracker is wanted, or a file is damaged.
    """
    if not wanted.trackers():
        raise LayerLotteryError("curves: found no tracker; allowed: --tensorboard true, --wandb and --mlflow")
    runs = [path.parent for path in sorted((results / "networks").rglob("curve.parquet"))]
    if not runs:
        raise LayerLotteryError(f"{results}: no finished training in it")
    for run in runs:
        yield from _tell(run, wanted)
    yield f"{counted(len(runs), 'learning curve', 'learning curves')} told to {', '.join(wanted.trackers())}"


def _tell(run: Path, wanted: LoggingSettings) -> Iterator[str]:
    facts = read_facts(Path(paths.training_facts(str(run))))
    curve = read_table(Path(paths.curve(str(run))))
    folder, name, place = named(run)
    problems: list[str] = []
    recorder = Recorder(
        Path(folder),
        name,
        place | plain(facts["training_settings"]),
        facts["train_images"],
        facts["config_hash"],
        wanted.trackers(),
        problems.append,
    )
    for row in curve.to_pylist():
        recorder.record(row)
    recorder.close(finished=True)
    yield from problems
