"""The stage `train`: initial weights in, trained weights, learning curve and facts out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from layerlottery import __version__
from layerlottery.cost.energy import EnergyMeter
from layerlottery.cost.gpu import find_gpu
from layerlottery.results.artifacts import write_facts, write_table
from layerlottery.settings import TrainingSettings
from layerlottery.training.checkpoint import Progress
from layerlottery.training.loop import Trainer
from layerlottery.training.recipe import compute_type
from layerlottery.training.session import Session, begin


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
    keep: Collection[int] = (),
    kept: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train the network in `weights` on the prepared set `data` and write three files into the folder `output`.

    weights.safetensors (after the last epoch), curve.parquet (a row an epoch) and training.json. Returns the
    facts. A rewound ticket starts after epoch `start_epoch`. The weights after the epochs in `keep` go into the
    folder `kept`, for the stage rewind. Raises Interrupted with a checkpoint saved on SIGTERM or SIGINT; the same
    call resumes it.
    """
    session = begin(
        weights,
        data,
        settings,
        seed=seed,
        device=device,
        start_epoch=start_epoch,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )

    def keep_epoch(epoch: int) -> None:
        if kept is not None and epoch in keep:
            session.save_weights(kept_file(kept, epoch), config_hash=session.fingerprint)

    session.trainer.keep = keep_epoch
    with session.trainer.stop.listening():
        _measured_run(session.trainer, session.progress)
    result = _write(output, session)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return result


def kept_file(folder: Path, epoch: int) -> Path:
    """The weights after an epoch, inside the folder of kept ones."""
    return folder / f"epoch={epoch}.safetensors"


def _measured_run(trainer: Trainer, progress: Progress) -> None:
    """Run one segment of the training; its energy joins the earlier segments', also when it is interrupted."""
    gpu = find_gpu(trainer.device)
    meter = EnergyMeter(gpu_ids=None if gpu is None else [gpu.index])
    meter.start()
    try:
        trainer.run(progress)
    finally:
        reading = vars(meter.stop())
        progress.segments.append(reading | {"design_watts": reading["cpu_watts"] if gpu is None else gpu.watts})
        if trainer.stop.requested:
            trainer.save(progress)


def _write(output: Path, session: Session) -> dict[str, Any]:
    trainer, progress, made_by = session.trainer, session.progress, session.fingerprint
    seconds = sum(row["seconds"] for row in progress.curve)
    images = len(trainer.data.train_labels)
    facts = {
        "accuracy": progress.curve[-1]["test_accuracy"],
        "epochs": len(progress.curve),
        "train_images": images,
        "train_seconds": seconds,
        "images_per_second": images * len(progress.curve) / seconds,
        "segments": progress.segments,
        "device": _device_name(trainer.device),
        "threads": torch.get_num_threads(),
        "precision": str(compute_type(trainer.settings, trainer.device)).removeprefix("torch."),
        "seed": trainer.seed,
        "package_version": __version__,
        "torch_version": torch.__version__,
    }
    session.save_weights(output / "weights.safetensors", config_hash=made_by)
    write_table(output / "curve.parquet", pa.Table.from_pylist(progress.curve), config_hash=made_by)
    write_facts(output / "training.json", facts, config_hash=made_by)
    return facts


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.cpu.get_capabilities().get('cpu_name') or platform.machine()} CPU"
