"""The stage `train`: initial weights in, trained weights, learning curve and facts out."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from layerlottery import __version__
from layerlottery.cost.energy import EnergyMeter
from layerlottery.cost.gpu import find_gpu
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet
from layerlottery.networks.weights import load_network, save_network
from layerlottery.results.artifacts import write_facts, write_table
from layerlottery.results.provenance import config_hash
from layerlottery.settings import TrainingSettings
from layerlottery.training.checkpoint import Progress, resume, save_checkpoint
from layerlottery.training.loop import StopFlag, Trainer, TrainingData
from layerlottery.training.recipe import compute_type, make_optimizer

log = logging.getLogger(__name__)


def train(
    weights: Path,
    data: Path,
    output: Path,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train the network in `weights` on the prepared set `data` and write three files into the folder `output`.

    weights.safetensors (after the last epoch), curve.parquet (a row an epoch) and training.json. Returns the
    facts. Raises Interrupted with a checkpoint saved on SIGTERM or SIGINT; the same call resumes it.
    """
    prepared = PreparedSet.open(data)
    model, facts = load_network(weights)
    made_by = config_hash("train", settings, [facts["content"], prepared.content], seed=seed)
    # the layout comes first: the optimizer's buffers copy it
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    model = model.to(device).to(memory_format=layout)
    optimizer = make_optimizer(model, settings)
    progress = resume(checkpoint, model, optimizer, fingerprint=made_by)

    def save(now: Progress) -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, model, optimizer, now, fingerprint=made_by)

    stop = StopFlag()
    trainer = Trainer(
        model, optimizer, _load(prepared, settings, device), settings, seed, save=save, stop=stop, on_epoch=on_epoch
    )
    with stop.listening():
        _measured_run(trainer, progress)
    result = _write(output, model, facts["architecture"], progress, trainer, made_by)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return result


def _load(prepared: PreparedSet, settings: TrainingSettings, device: torch.device) -> TrainingData:
    """On a GPU the whole uint8 set moves there once; on a CPU it stays memory-mapped."""

    def tensors(name: str) -> tuple[Tensor, Tensor]:
        split = prepared.split("train" if name == "train" else "test")
        return torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device)

    normalize = Normalizer(prepared.mean, prepared.std, device=device, channels_last=settings.channels_last)
    return TrainingData(*tensors("train"), *tensors("test"), normalize)


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


def _write(
    output: Path,
    model: nn.Module,
    architecture: dict[str, Any],
    progress: Progress,
    trainer: Trainer,
    made_by: str,
) -> dict[str, Any]:
    seconds = sum(row["seconds"] for row in progress.curve)
    images = len(trainer.data.train_labels)
    facts = {
        "accuracy": progress.curve[-1]["test_accuracy"],
        "epochs": trainer.settings.epochs,
        "train_images": images,
        "train_seconds": seconds,
        "images_per_second": images * trainer.settings.epochs / seconds,
        "segments": progress.segments,
        "device": _device_name(trainer.device),
        "threads": torch.get_num_threads(),
        "precision": str(compute_type(trainer.settings, trainer.device)).removeprefix("torch."),
        "seed": trainer.seed,
        "package_version": __version__,
        "torch_version": torch.__version__,
    }
    save_network(output / "weights.safetensors", model, {"architecture": architecture}, config_hash=made_by)
    write_table(output / "curve.parquet", pa.Table.from_pylist(progress.curve), config_hash=made_by)
    write_facts(output / "training.json", facts, config_hash=made_by)
    return facts


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.cpu.get_capabilities().get('cpu_name') or platform.machine()} CPU"
