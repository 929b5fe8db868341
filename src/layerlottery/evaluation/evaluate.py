"""All tests of one trained network in one process: the stages corrupt, outliers, shift and attack."""

from __future__ import annotations

from pathlib import Path

import torch

from layerlottery import paths
from layerlottery.config.evaluation import EvaluationSettings
from layerlottery.evaluation.attack import attack
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.outliers import outliers
from layerlottery.evaluation.shift import shift


def evaluate(
    weights: Path,
    data: Path,
    output: Path,
    settings: EvaluationSettings,
    *,
    device: torch.device,
    dense: Path | None = None,
) -> None:
    """Write everything to the folder `output`; raises as the stages do.

    Adversarial examples of `dense` are tried on the network; without it, its own.
    """
    folder = str(output)
    images, corrupted = Path(paths.corrupted_images(folder)), Path(paths.corrupted_facts(folder))
    strangers, about = Path(paths.outlier_images(folder)), Path(paths.outlier_facts(folder))
    corrupt(data, images, corrupted, settings.corruptions, settings.official)
    outliers(data, strangers, about, settings.outliers)
    shift(
        weights,
        data,
        images,
        corrupted,
        Path(paths.shift(folder)),
        settings.shift,
        device=device,
        outlier_images=strangers,
        outlier_facts=about,
        output_detection=Path(paths.detection(folder)),
    )
    progress = Path(paths.attack_progress(f"{folder}/attack.safetensors"))
    attack(weights, data, Path(paths.attack(folder)), settings.attack, device=device, dense=dense, progress=progress)
