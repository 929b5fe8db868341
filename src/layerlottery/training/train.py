"""The stage `train`: initial weights in, trained weights, learning curve and facts out."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from layerlottery import paths
from layerlottery.config.live import LoggingSettings
from layerlottery.config.recipes import check_recipe
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.energy import EnergyMeter, EnergyReading
from layerlottery.cost.gpu import find_gpu
from layerlottery.cost.machine import machine_facts, now, where
from layerlottery.runtime.lease import jobs_per_gpu
from layerlottery.store.artifacts import write_facts, write_table
from layerlottery.store.chain import Chain
from layerlottery.training.alone import alone
from layerlottery.training.ended import ended, leave, taken_over
from layerlottery.training.journal import Journal, Segment
from layerlottery.training.live import live_curves
from layerlottery.training.loop import CHECKPOINT_SECONDS
from layerlottery.training.once import once
from layerlottery.training.session import Session, begin
from layerlottery.training.together import together

NOWHERE = LoggingSettings()


def train(
    weights: Path,
    data: Path,
    output: Path,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    others: Sequence[torch.device] = (),
    start_epoch: int = 0,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    keep: Collection[int] = (),
    kept: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    logging: LoggingSettings = NOWHERE,
) -> dict[str, Any]:
    """Train the network in `weights` on the prepared set `data` and write three files into the folder `output`.

    weights.safetensors (after the last epoch), curve.parquet (a row an epoch) and training.json. Returns the
    facts. A rewound ticket starts after epoch `start_epoch`. The weights after the epochs in `keep` go into the
    folder `kept`, for the stage rewind. A signal to stop raises Interrupted with a checkpoint or the results saved; the
    same call goes on from there, also after the process was killed. If another process works on the same training,
    waits for it and takes over what it finished; what another network's folder of the same results holds of it is
    copied. With devices in `others` a process on each of them shares every batch. `logging` names trackers that are
    told of each epoch; nothing that happens to them fails a training.
    """
    check_recipe(output, settings)
    with alone(checkpoint) as waited:
        session = begin(
            weights, data, settings, seed=seed, device=device, start_epoch=start_epoch, checkpoint=checkpoint
        )

        told = [on_epoch]

        def after(row: dict[str, float]) -> None:
            for tell in told:
                tell(row)
            if kept is not None and row["epoch"] in keep:
                session.save_weights(Path(paths.kept_weights(str(kept), str(row["epoch"]))))

        session.trainer.on_epoch, session.trainer.checkpoint_seconds = after, checkpoint_seconds
        machine = machine_facts(device, count=1 + len(others))
        with session.trainer.stop.noting():
            done = ended(output, session.fingerprint) if waited else None
            done = done or taken_over(checkpoint, output, session.fingerprint)
            if done is None:
                with once(output, session, checkpoint) as copied:
                    with live_curves(logging, output, session) as tell:
                        told.append(tell)
                        done = copied
                        if done is None:
                            segments = _measured_run(session, checkpoint, others)
                            done = _facts(session, machine, segments, 1 + len(others))
                    _write(output, session, done)
            leave(checkpoint, output, stop=session.trainer.stop.requested)
    return done


def _measured_run(session: Session, checkpoint: Path | None, others: Sequence[torch.device]) -> list[Segment]:
    """Run one segment of the training; returns all segments. Its energy is kept also when it is interrupted."""
    gpus = [gpu for gpu in map(find_gpu, (session.trainer.device, *others)) if gpu is not None]
    meter = EnergyMeter(gpu_ids=[gpu.index for gpu in gpus] or None)

    def segment(reading: EnergyReading) -> Segment:
        # a job's share of the processor: others use the other cores meanwhile
        share = min(1.0, torch.get_num_threads() * (1 + len(others)) / (os.cpu_count() or 1))
        watts = sum(gpu.watts for gpu in gpus) / jobs_per_gpu() if gpus else share * reading.cpu_watts
        return vars(reading) | {"design_watts": watts} | began | {"ended": now()}

    journal = Journal.open(checkpoint, session.fingerprint, lambda: segment(meter.read()))
    session.trainer.tick = journal.tick
    # the meter charges what works when it starts, until it ends
    with together(session, others):
        began = where() | {"started": now()}
        meter.start()
        try:
            session.trainer.run(session.progress)
        finally:
            journal.close(segment(meter.stop()))
    return journal.segments


def _facts(session: Session, machine: dict[str, Any], segments: list[Segment], processes: int) -> dict[str, Any]:
    trainer, rows = session.trainer, session.progress.curve
    seconds = sum(row["seconds"] for row in rows)
    images = len(trainer.data.train)
    return machine | {
        "accuracy": rows[-1]["test_accuracy"],
        "epochs": len(rows),
        "train_images": images,
        "train_seconds": seconds,
        "images_per_second": images * len(rows) / seconds,
        "segments": segments,
        "threads": torch.get_num_threads() * processes,
        "precision": session.progress.precision,
        "compiled": trainer.compiled,
        "seed": trainer.seed,
        "training_settings": trainer.settings.model_dump(mode="json"),
    }


def _write(output: Path, session: Session, facts: dict[str, Any]) -> None:
    weights, curve, described = (Path(path) for path in paths.trained(str(output)))
    # the tables take them for granted, and don't open them: what is written beside them vouches for them
    chain = Chain({**session.inputs})
    chain.add(weights, session.save_result(weights))
    rows = pa.Table.from_pylist(session.progress.curve)
    write_table(curve, rows, config_hash=session.fingerprint, inputs=chain.inputs)
    write_facts(described, facts, config_hash=session.fingerprint, inputs=chain.inputs)
