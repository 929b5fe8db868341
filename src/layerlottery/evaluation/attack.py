"""Stage attack: accuracy on adversarial examples, and how little it takes to fool the network."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from layerlottery.config.evaluation import AttackSettings
from layerlottery.config.extensions import load
from layerlottery.config.provenance import config_hash
from layerlottery.data.batches import BATCH_SIZE
from layerlottery.data.prepared import PreparedSet, Split
from layerlottery.evaluation.adversaries import L2, Batch, correct, minimum_norms, perturb
from layerlottery.evaluation.autoattack import PART, Parts, autoattack_survivors, find_autoattack
from layerlottery.evaluation.conditions import Condition, write_conditions
from layerlottery.evaluation.forward import batches
from layerlottery.evaluation.masking import gradient_check
from layerlottery.evaluation.own import own_perturb
from layerlottery.evaluation.selection import select_images
from layerlottery.networks.predictor import load_predictor
from layerlottery.store.hashing import derived_seed

log = logging.getLogger(__name__)


@dataclass
class Victim:
    """A network under attack: frozen, in eval mode, images in [0, 1] in."""

    model: nn.Module
    source: nn.Module  # crafts the examples of transfer
    test: Split
    settings: AttackSettings
    device: torch.device
    parts: Parts = field(default_factory=Parts)  # what is done of autoattack
    survivors: dict[tuple[str, float], list[Batch]] = field(default_factory=dict)  # by attack and level

    def __post_init__(self) -> None:
        chosen = select_images(self.test.labels, self.settings.images, seed=self.settings.seed)
        self.chosen = self.test.take(chosen)
        self.batches = list(_right(self.model, self.chosen, self.device))
        self.untouched = self.percent(self.batches)

    def percent(self, batches: Sequence[Batch]) -> float:
        """Share of the chosen images that are left, percent."""
        return 100 * sum(int(batch.left.sum()) for batch in batches) / len(self.chosen)


def attack(
    weights: Path,
    data: Path,
    output: Path,
    settings: AttackSettings,
    *,
    device: torch.device,
    dense: Path | None = None,
    progress: Path | None = None,
) -> None:
    """Attack one network with every attack and epsilon and write a row for each.

    `data` is the facts file of a prepared set. `dense` are the trained weights of the dense network, whose
    examples transfer tries; a dense network itself has none, and tries its own. `progress` keeps the finished
    parts of autoattack until all is done. Raises LayerLotteryError when an attack leaves its bounds, and when one is
    asked for and not installed, or not to be loaded.
    """
    # before the minutes that the others take
    if "autoattack" in settings.attacks:
        find_autoattack()
    for own in settings.custom.values():
        load(own)
    prepared = PreparedSet.open(data)
    model, facts = load_predictor(weights, prepared, device)
    inputs, source = [facts["content"], prepared.content], model
    if dense is not None and "transfer" in settings.attacks:
        source, dense_facts = load_predictor(dense, prepared, device)
        inputs.append(dense_facts["content"])
    made_by = config_hash("attack", settings, inputs)
    parts = Parts.open(progress, made_by)
    rows = attack_rows(Victim(model, source, prepared.split("test"), settings, device, parts))
    for problem in gradient_check(rows):
        log.warning("gradients may be masked: %s", problem)
    write_conditions(output, rows, config_hash=made_by)
    parts.discard()


def attack_rows(victim: Victim) -> list[Condition]:
    """The rows of every attack; where there are epsilons the first is for epsilon 0: the same images untouched.

    An image that the network gets wrong counts as wrong and is not attacked: no change at all is an adversarial
    perturbation, too (the convention of Croce & Hein 2020). All others are attacked anew at every epsilon, from
    the same random direction, so a row depends on its own attack and epsilon only.
    """
    built_in = [row for name in victim.settings.attacks for row in ROWS.get(name, _bounded)(name, victim)]
    return built_in + [row for name in victim.settings.custom for row in _own(name, victim)]


def _bounded(name: str, victim: Victim) -> list[Condition]:
    """One random start, or none."""
    return _sweep(name, victim, lambda level: victim.percent(_survivors(name, victim, level)))


def _restarts(name: str, victim: Victim) -> list[Condition]:
    """The worst of several random starts; the first is pgd's, so no image survives here that pgd fools."""

    def worst(level: float) -> float:
        left = _survivors("pgd", victim, level)
        for restart in range(1, victim.settings.restarts):
            left = _attacked("pgd", victim, left, level, restart=restart)
        return victim.percent(left)

    return _sweep(name, victim, worst)


def _transfer(name: str, victim: Victim) -> list[Condition]:
    """PGD on all chosen images by the source's gradients; those survive that the model gets right before and after."""
    settings, rows = victim.settings, [Condition("transfer", "pgd", 0.0, victim.untouched, len(victim.chosen))]
    for level in settings.epsilons:
        left = []
        with _seeded(settings.seed, victim.device):
            for batch in victim.batches:
                every = batch._replace(left=torch.ones_like(batch.left))
                changed = perturb(name, victim.source, every, level / 255, settings)
                left.append(batch._replace(left=correct(victim.model, changed, batch.labels, batch.left)))
        rows.append(Condition("transfer", "pgd", level, victim.percent(left), len(victim.chosen)))
    return rows


def _minimum(name: str, victim: Victim) -> list[Condition]:
    """The median norm over all chosen images, 0 for those that are wrong already.

    It is null where it is infinite, for half of the images or more were never fooled.
    """
    with _seeded(victim.settings.seed, victim.device):
        norms = [minimum_norms(name, victim.model, batch, victim.settings).cpu() for batch in victim.batches]
    median = float(np.median(torch.cat(norms).numpy()))
    norm = 255 * median if np.isfinite(median) else None
    return [Condition("minimum_norm", name, 0.0, victim.untouched, len(victim.chosen), norm=norm)]


def _autoattack(name: str, victim: Victim) -> list[Condition]:
    """AutoAttack on images of its own number."""
    settings = victim.settings
    chosen = victim.test.take(select_images(victim.test.labels, settings.autoattack_images, seed=settings.seed))
    found = list(_right(victim.model, chosen, victim.device, batch_size=PART))
    counts = {0.0: sum(int(batch.left.sum()) for batch in found)}
    for level in settings.autoattack_epsilons:
        counts[level] = autoattack_survivors(victim.model, found, level, seed=settings.seed, parts=victim.parts)
    return [
        Condition("attack", name, level, accuracy=100 * count / len(chosen), images=len(chosen))
        for level, count in counts.items()
    ]


def _own(name: str, victim: Victim) -> list[Condition]:
    """An attack of the user's own; it gets a copy of the network, and the same seeds at every epsilon."""
    settings, attack = victim.settings, load(victim.settings.custom[name])
    model, in_l2 = copy.deepcopy(victim.model), settings.custom[name].norm == "l2"

    def accuracy(level: float) -> float:
        left = []
        with _seeded(settings.seed, victim.device):
            for number, batch in enumerate(victim.batches):
                seed = derived_seed("attack", settings.seed, number) >> 32
                changed = own_perturb(name, attack, model, batch, level / 255, l2=in_l2, seed=seed)
                left.append(batch._replace(left=correct(victim.model, changed, batch.labels, batch.left)))
        return victim.percent(left)

    return _sweep(name, victim, accuracy)


# all others have one start or none, and a list of epsilons
ROWS: dict[str, Callable[[str, Victim], list[Condition]]] = {
    "pgd_restarts": _restarts,
    "transfer": _transfer,
    "fmn": _minimum,
    "fmn_l2": _minimum,
    "deepfool": _minimum,
    "autoattack": _autoattack,
}


def _sweep(name: str, victim: Victim, accuracy: Callable[[float], float]) -> list[Condition]:
    own = victim.settings.custom.get(name)
    in_l2 = name in L2 if own is None else own.norm == "l2"
    levels = victim.settings.l2_epsilons if in_l2 else victim.settings.epsilons
    values = [(0.0, victim.untouched), *((level, accuracy(level)) for level in levels)]
    return [Condition("attack", name, level, accuracy=value, images=len(victim.chosen)) for level, value in values]


def _survivors(name: str, victim: Victim, level: float) -> list[Batch]:
    """What an attack's first start leaves: kept, for pgd_restarts goes on from it."""
    if (name, level) not in victim.survivors:
        victim.survivors[name, level] = _attacked(name, victim, victim.batches, level)
    return victim.survivors[name, level]


def _attacked(name: str, victim: Victim, left: Sequence[Batch], level: float, *, restart: int = 0) -> list[Batch]:
    survivors = []
    with _seeded(victim.settings.seed, victim.device, restart=restart):
        for batch in left:
            changed = perturb(name, victim.model, batch, level / 255, victim.settings)
            survivors.append(batch._replace(left=correct(victim.model, changed, batch.labels, batch.left)))
    return survivors


def _right(model: nn.Module, test: Split, device: torch.device, *, batch_size: int = BATCH_SIZE) -> Iterator[Batch]:
    """The images in batches, those to attack being the ones that the model gets right."""
    labels = torch.from_numpy(test.labels.copy()).to(device)
    start = 0
    for images in batches(test.images, device, batch_size=batch_size):
        own = labels[start : start + len(images)]
        yield Batch(images, own, correct(model, images, own, torch.ones_like(own, dtype=torch.bool)))
        start += len(images)


@contextmanager
def _seeded(seed: int, device: torch.device, *, restart: int = 0) -> Iterator[None]:
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        # restarts of one seed must not be the first starts of the next
        torch.manual_seed(int(np.random.SeedSequence((seed, restart)).generate_state(1)[0]) if restart else seed)
        yield
