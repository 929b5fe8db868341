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
    corrupted = Path(paths.corrupted_images(folder)), Path(paths.corrupted_facts(folder))
    unknown = Path(paths.outlier_images(folder)), Path(paths.outlier_facts(folder))
    shown, told, attacked = (Path(name(folder)) for name in (paths.shift, paths.detection, paths.attack))
    corrupt(data, *corrupted, settings.corruptions, settings.official)
    outliers(data, *unknown, settings.outliers)
    apart = {"outlier_images": unknown[0], "outlier_facts": unknown[1], "output_detection": told}
    shift(weights, data, *corrupted, shown, settings.shift, device=device, **apart)
    progress = Path(paths.attack_progress(f"{folder}/attack.safetensors"))
    attack(weights, data, attacked, settings.attack, device=device, dense=dense, progress=progress)
