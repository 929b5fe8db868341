"""AutoAttack (Croce & Hein 2020), the standard version, L-infinity: four attacks, each on what the last one left.

It takes minutes to hours, so what is finished is kept and a run that was stopped goes on from there. The package's
own state file is not used: its set of attacks does not survive the way to JSON and back, and it says nothing of
the network that it belongs to.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError, what
from layerlottery.evaluation.adversaries import Attacked, attack, check_bound, check_range, correct
from layerlottery.store.artifacts import read_facts, write_facts

log = logging.getLogger(__name__)

NAME = "autoattack"
# the standard version, in its order
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
PART = 50  # images; what a stopped run repeats at most is one attack on so many
FEWEST_CLASSES = 4  # the targeted loss divides by a difference of four logits
TARGETS = 9  # classes that the targeted attacks try at most


@dataclass
class Parts:
    """Finished parts, by name: the places in their batch of the images that survived. In a file if there is a path."""

    path: Path | None = None
    fingerprint: str = ""
    done: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | None, fingerprint: str) -> Parts:
        """Those of the file, if it is intact and belongs to the same configuration and weights; else none."""
        if path is None or not path.exists():
            return cls(path, fingerprint)
        try:
            facts = read_facts(path)
            if facts.pop("config_hash") != fingerprint:
                raise LayerLotteryError(f"{path} belongs to another configuration")
        except LayerLotteryError as error:
            log.info("progress not used: %s", what(error))
            return cls(path, fingerprint)
        log.info("resumed after %d parts of autoattack", len(facts))
        return cls(path, fingerprint, facts)

    def add(self, name: str, survivors: list[int]) -> None:
        """Keep one more part."""
        self.done[name] = survivors
        if self.path is not None:
            write_facts(self.path, self.done, config_hash=self.fingerprint)

    def discard(self) -> None:
        """Remove the file: the results are where they belong."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def find_autoattack() -> Any:
    """The class AutoAttack; raises LayerLotteryError where it is not installed."""
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise LayerLotteryError(
            f"attacks: autoattack needs a package that is not installed ({error.name}); "
            "pip install 'layerlottery[autoattack]'"
        ) from None
    return AutoAttack


# passes: APGD on two losses, FAB for 9 classes, and 5,000 queries of Square, which are forward passes (Croce & Hein
# 2020, section 5), each on what the ones before have left
@attack(kind="ensemble", norm="linf", passes=1937, epsilons="autoattack_epsilons", images="autoattack_images")
def autoattack(
    model: nn.Module, batches: Sequence[Attacked], level: float, *, seed: int, parts: Parts
) -> list[Attacked]:
    """Survivors of all attacks at the bound `level` (1/255), among the images to attack; batches hold PART at most.

    A function of the images, the model and the seed, stopped in between or not. Raises LayerLotteryError for
    images out of range, fewer than 4 classes, or a perturbation out of bounds.
    """
    survivors = []
    for number, batch in enumerate(batches):
        check_range(NAME, batch.images)
        left = batch.left.nonzero().squeeze(1).tolist()
        for name in STANDARD:
            part = f"{level}/{number}/{name}"
            if part not in parts.done:
                parts.add(part, _attacked(name, model, batch, left, level / 255, seed) if left else [])
            left = parts.done[part]
        mask = torch.zeros_like(batch.left)
        mask[left] = True
        survivors.append(batch._replace(left=mask))
    return survivors


def _attacked(name: str, model: nn.Module, batch: Attacked, left: list[int], epsilon: float, seed: int) -> list[int]:
    """One of the four attacks on the images at the places `left`; the places of those that survive."""
    # its code wants one memory layout
    images, labels = batch.images[left].contiguous(), batch.labels[left]
    forked, trace = [images.device] if images.is_cuda else [], sys.gettrace()
    try:
        # it seeds torch, ends tracing, and may print
        with torch.random.fork_rng(devices=forked), redirect_stdout(sys.stderr):
            adversary = _adversary(model, images, epsilon, seed)
            adversary.attacks_to_run = [name]
            changed, _ = adversary.run_standard_evaluation(images, labels, batch_size=PART)
    finally:
        sys.settrace(trace)
    check_bound(NAME, changed, images, epsilon, l2=False)
    right: Tensor = correct(model, changed, labels, torch.ones_like(labels, dtype=torch.bool))
    return [place for place, survived in zip(left, right.tolist(), strict=True) if survived]


def _adversary(model: nn.Module, images: Tensor, epsilon: float, seed: int) -> Any:
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    if classes < FEWEST_CLASSES:
        raise LayerLotteryError(f"attacks: autoattack on {classes} classes; allowed: {FEWEST_CLASSES} or more")
    adversary = find_autoattack()(model, eps=epsilon, seed=seed, version="standard", device=images.device)
    adversary.verbose = False
    adversary.logger = adversary.apgd.logger = adversary.apgd_targeted.logger = log
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = min(TARGETS, classes - 1)
    return adversary
