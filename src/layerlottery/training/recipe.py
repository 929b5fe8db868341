"""The optimizer, the learning rate of every step, and the type that convolutions compute in."""

from __future__ import annotations

import math

import torch
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


def compute_type(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """bfloat16 if asked for, or if left open and the device has units that are faster in it; else float32."""
    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # matrix units alone: bfloat16 in AVX-512 has half the rate of float32 on Intel's cores (docs/performance.md)
        native = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.bfloat16 if native else torch.float32


def products(settings: TrainingSettings, device: torch.device) -> str:
    """The type that convolutions compute in, for the record: float32, tf32 or bfloat16."""
    if settings.precision == "tf32" and device.type == "cuda":
        return "tf32"
    return str(compute_type(settings, device)).removeprefix("torch.")


def set_products(settings: TrainingSettings, device: torch.device) -> None:
    """Let a GPU round the factors of float32 products to TF32 if that is asked for, and else not."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"
