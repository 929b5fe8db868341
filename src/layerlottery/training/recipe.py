"""The optimizer, and the learning rate of every step."""

from __future__ import annotations

import math

from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.training.optimizer import AdamW, MomentumSGD, Optimizer


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """The recipe's optimizer over all parameters."""
    kind = AdamW if settings.optimizer == "adamw" else MomentumSGD
    return kind(model.named_parameters(), settings)


def learning_rate(settings: TrainingSettings, *, step: int, steps_per_epoch: int) -> float:
    """The rate of a step (from 0), in closed form: resuming or rewinding needs nothing but the step's number."""
    peak, total = settings.learning_rate, settings.epochs * steps_per_epoch
    if settings.schedule == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in settings.milestones)
        return peak * settings.gamma**passed
    if settings.schedule == "cosine":
        return _anneal(peak, 0.0, step / total)
    if settings.schedule == "warmup_cosine":
        return _warmed_up(peak, round(settings.warmup * total), step, total)
    return _one_cycle(peak, settings.warmup * total - 1, step, total)


def _one_cycle(peak: float, top: float, step: int, total: int) -> float:
    """Smith & Topin (2018) with cosine flanks: peak/25 up to peak at step `top`, then down to peak/250,000."""
    if step <= top:
        return _anneal(peak / 25, peak, step / top if top > 0 else 1.0)
    return _anneal(peak, peak / 25e4, (step - top) / max(1.0, total - 1 - top))


def _warmed_up(peak: float, rising: int, step: int, total: int) -> float:
    """Linear from peak/`rising` to the peak in the first `rising` steps, then a cosine that ends at 0."""
    if step < rising:
        return peak * (step + 1) / rising
    return _anneal(peak, 0.0, (step - rising) / (total - rising))


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
