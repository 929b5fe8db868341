"""The stage `train`: initial weights in, trained weights, learning curve and facts out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from layerlottery import paths
from layerlottery.config.training import TrainingSettings
from layerlottery.cost.energy import EnergyMeter, EnergyReading
from layerlottery.cost.gpu import find_gpu
from layerlottery.cost.machine import machine_facts, now, where
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_table, read_weights, write_facts, write_table
from layerlottery.training.alone import alone
from layerlottery.training.journal import Journal, Segment, journal_file
from layerlottery.training.recipe import products
from layerlottery.training.session import CHECKPOINT_SECONDS, Session, begin

WEIGHTS, CURVE, FACTS = "weights.safetensors", "curve.parquet", "training.json"


def train(
    weights: Path,
    data: Path,
    output: Path,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    start_epoch: int = 0,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    keep: Collection[int] = (),
    kept: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train the network in `weights` on the prepared set `data` and write three files into the folder `output`.

    weights.safetensors (after the last epoch), curve.parquet (a row an epoch) and training.json. Returns the
    facts. A rewound ticket starts after epoch `start_epoch`. The weights after the epochs in `keep` go into the
    folder `kept`, for the stage rewind. Raises Interrupted with a checkpoint saved on SIGTERM or SIGINT; the same
    call resumes it, also after the process was killed. If another process works on the same training, waits for it
    and takes over what it finished.
    """
    with alone(checkpoint) as waited:
        session = begin(
            weights,
            data,
            settings,
            seed=seed,
            device=device,
            start_epoch=start_epoch,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            on_epoch=on_epoch,
        )
        if waited and (done := _finished(output, session.fingerprint)):
            return done
        if checkpoint is not None and (done := _set_aside(checkpoint, output, session.fingerprint)):
            return done

        def keep_epoch(epoch: int) -> None:
            if kept is not None and epoch in keep:
                session.save_weights(kept_file(kept, epoch), config_hash=session.fingerprint)

        session.trainer.keep = keep_epoch
        facts = machine_facts(device)
        with session.trainer.stop.listening():
            journal = _measured_run(session, checkpoint)
        result = _write(output, session, facts, journal.segments)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        journal.remove()
    return result


def kept_file(folder: Path, epoch: int) -> Path:
    """The weights after an epoch, inside the folder of kept ones."""
    return folder / f"epoch={epoch}.safetensors"


def _finished(output: Path, fingerprint: str) -> dict[str, Any] | None:
    """The facts that another process wrote last, if all three files are whole and of this training."""
    try:
        made_by = [read_weights(output / WEIGHTS)[1]["config_hash"]]
        made_by.append(read_table(output / CURVE).schema.metadata[b"config_hash"].decode())
        facts = read_facts(output / FACTS)
    except LayerLotteryError:
        return None
    return facts if {*made_by, facts.pop("config_hash")} == {fingerprint} else None


def _set_aside(checkpoint: Path, output: Path, fingerprint: str) -> dict[str, Any] | None:
    """Take over what this training wrote when nobody was left to notice; see results/recovery.py."""
    folder = Path(paths.finished(str(checkpoint)))
    if not folder.is_dir():
        return None
    done = _finished(folder, fingerprint)
    for name in (WEIGHTS, CURVE, FACTS):
        if done is not None:
            output.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(output / name)
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
    if done is not None:
        checkpoint.unlink(missing_ok=True)
        journal_file(checkpoint).unlink(missing_ok=True)
    return done


def _measured_run(session: Session, checkpoint: Path | None) -> Journal:
    """Run one segment of the training; its energy joins the earlier segments', also when it is interrupted."""
    trainer = session.trainer
    gpu = find_gpu(trainer.device)
    meter = EnergyMeter(gpu_ids=None if gpu is None else [gpu.index])
    began = where() | {"started": now()}

    def segment(reading: EnergyReading) -> Segment:
        watts = reading.cpu_watts if gpu is None else gpu.watts
        return vars(reading) | {"design_watts": watts} | began | {"ended": now()}

    journal = Journal.open(checkpoint, session.fingerprint, lambda: segment(meter.read()))
    trainer.tick = journal.tick
    meter.start()
    try:
        trainer.run(session.progress)
    finally:
        if trainer.stop.requested:
            trainer.save(session.progress)
        journal.close(segment(meter.stop()))
    return journal


def _write(output: Path, session: Session, machine: dict[str, Any], segments: list[Segment]) -> dict[str, Any]:
    trainer, progress, made_by = session.trainer, session.progress, session.fingerprint
    seconds = sum(row["seconds"] for row in progress.curve)
    images = len(trainer.data.train_labels)
    facts = machine | {
        "accuracy": progress.curve[-1]["test_accuracy"],
        "epochs": len(progress.curve),
        "train_images": images,
        "train_seconds": seconds,
        "images_per_second": images * len(progress.curve) / seconds,
        "segments": segments,
        "threads": torch.get_num_threads(),
        "precision": products(trainer.settings, trainer.device),
        "compiled": trainer.compiled,
        "seed": trainer.seed,
        "training_settings": trainer.settings.model_dump(mode="json"),
    }
    session.save_weights(output / WEIGHTS, config_hash=made_by)
    write_table(output / CURVE, pa.Table.from_pylist(progress.curve), config_hash=made_by)
    write_facts(output / FACTS, facts, config_hash=made_by)
    return facts
