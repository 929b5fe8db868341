"""Stage attack: accuracy on adversarial examples, and how little it takes to fool the network."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from layerlottery.config.evaluation import AttackSettings
from layerlottery.config.extensions import load
from layerlottery.config.provenance import config_hash
from layerlottery.data.batches import BATCH_SIZE
from layerlottery.data.prepared import PreparedSet, Rows, Split, select_images
from layerlottery.evaluation.adversaries import FUNCTIONS, Attacked, correct, minimum_norms, own_perturb, perturb
from layerlottery.evaluation.autoattack import PART, Parts, find_autoattack
from layerlottery.evaluation.conditions import RobustnessRow, kept, list_of, write_conditions
from layerlottery.evaluation.forward import batches
from layerlottery.evaluation.masking import gradient_check
from layerlottery.networks.predictor import load_predictor
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import derived_seed

log = logging.getLogger(__name__)

Batched = list[Attacked]
Change = Callable[[float, int, Attacked], Tensor]  # of level, number of the batch, batch


@dataclass
class Victim:
    """A network under attack: frozen, in eval mode, images in [0, 1] in."""

    model: nn.Module
    source: nn.Module  # crafts the examples of transfer
    test: Split
    settings: AttackSettings
    device: torch.device
    parts: Parts = field(default_factory=Parts)  # what is done of autoattack
    content: str = ""  # hash of the prepared set
    survivors: dict[tuple[str, float], Batched] = field(default_factory=dict)  # of first starts, by attack and level

    def __post_init__(self) -> None:
        self.batches = self.chosen(self.settings.images)

    def indices(self, images: int | None) -> Rows:
        """The places of so many test images."""
        return select_images(self.test.labels, images, seed=self.settings.seed)

    def chosen(self, images: int | None, *, batch_size: int = BATCH_SIZE) -> Batched:
        """So many test images in batches, those to attack being the ones that the network gets right."""
        test = self.test.take(self.indices(images))
        labels = torch.from_numpy(test.labels).to(self.device).split(batch_size)
        held = zip(batches(test.images, self.device, batch_size=batch_size), labels, strict=True)
        return [Attacked(*one, correct(self.model, *one, torch.ones_like(one[1], dtype=torch.bool))) for one in held]

    def left(self, given: Batched, changed: Callable[[int, Attacked], Tensor], *, restart: int = 0) -> Batched:
        """The batches without the images that the network gets wrong once they are changed."""
        with _seeded(self.settings.seed, self.device, restart=restart):
            return [
                batch._replace(left=correct(self.model, changed(number, batch), batch.labels, batch.left))
                for number, batch in enumerate(given)
            ]


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
    chain = Chain()
    chain.set("attack", settings.slice())
    chain.add(data, prepared.content)
    chain.add(weights, facts["content"], facts["stamp"])
    inputs, source = [facts["content"], prepared.content], model
    if dense is not None and any(settings.traits(name).kind == "transfer" for name in settings.attacks):
        source, dense_facts = load_predictor(dense, prepared, device)
        inputs.append(dense_facts["content"])
        chain.add(dense, dense_facts["content"], dense_facts["stamp"])
    made_by = config_hash("attack", settings, inputs)
    parts = Parts.open(progress, made_by)
    rows = attack_rows(Victim(model, source, prepared.split("test"), settings, device, parts, prepared.content))
    for problem in gradient_check(rows):
        log.warning("gradients may be masked: %s", problem)
    write_conditions(output, rows, config_hash=made_by, inputs=chain.inputs)
    parts.discard()


def attack_rows(victim: Victim) -> list[RobustnessRow]:
    """The rows of every attack; where there are epsilons the first is for epsilon 0: the same images untouched.

    An image that the network gets wrong counts as wrong and is not attacked: no change at all is an adversarial
    perturbation, too (the convention of Croce & Hein 2020). All others are attacked anew at every epsilon, from
    the same random direction, so a row depends on its own attack and epsilon only.
    """
    names = (*victim.settings.attacks, *victim.settings.custom)
    return [row for name in names for row in ROWS[victim.settings.traits(name).kind](name, victim)]


def _bounded(name: str, victim: Victim) -> list[RobustnessRow]:
    """Accuracy under the worst of all starts; the first of several is another attack's, and not run twice."""
    settings, traits, change = victim.settings, victim.settings.traits(name), _change(name, victim)
    first = traits.of if traits.of and traits.starts else name

    def survivors(level: float) -> Batched:
        if (first, level) not in victim.survivors:
            victim.survivors[first, level] = victim.left(victim.batches, partial(change, level))
        left = victim.survivors[first, level]
        for restart in range(1, settings.starts(name)):
            left = victim.left(left, partial(change, level), restart=restart)
        return left

    return _sweep(name, victim, victim.batches, survivors)


def _change(name: str, victim: Victim) -> Change:
    """How an attack within a bound changes the images of one batch."""
    settings, kind = victim.settings, victim.settings.traits(name).kind
    if kind == "transfer":
        # all images; those survive that the model gets right before and after
        return lambda level, _, batch: perturb(name, victim.source, batch.all(), level / 255, settings)
    if kind == "bounded":
        return lambda level, _, batch: perturb(name, victim.model, batch, level / 255, settings)
    # one of the user's own gets a copy of the network, and the same seeds at every epsilon
    function, model, l2 = load(settings.custom[name]), copy.deepcopy(victim.model), settings.custom[name].norm == "l2"
    return lambda level, number, batch: own_perturb(
        name, function, model, batch, level / 255, l2=l2, seed=derived_seed("attack", settings.seed, number) >> 32
    )


def _minimum(name: str, victim: Victim) -> list[RobustnessRow]:
    """The median norm over all chosen images, 0 for those that are wrong already.

    It is null where it is infinite, for half of the images or more were never fooled.
    """
    with _seeded(victim.settings.seed, victim.device):
        norms = [minimum_norms(name, victim.model, batch, victim.settings).cpu() for batch in victim.batches]
    median = float(np.median(torch.cat(norms).numpy()))
    (row,) = _sweep(name, victim, victim.batches, lambda _: victim.batches)
    norm = 255 * median if np.isfinite(median) else None
    return [replace(row, kind="minimum_norm", norm=norm, answers=None, images_hash=None)]


def _ensemble(name: str, victim: Victim) -> list[RobustnessRow]:
    """Several attacks in turn, on images of its own number; what is done of them is kept in case the run stops."""
    settings, run = victim.settings, partial(FUNCTIONS[name], seed=victim.settings.seed, parts=victim.parts)
    images = getattr(settings, settings.traits(name).images)
    chosen = victim.chosen(images, batch_size=PART)
    return _sweep(name, victim, chosen, lambda level: run(victim.model, chosen, level), victim.indices(images))


ROWS: dict[str, Callable[[str, Victim], list[RobustnessRow]]] = {
    **dict.fromkeys(("bounded", "transfer", "own"), _bounded),
    "minimum": _minimum,
    "ensemble": _ensemble,
}


def _sweep(
    name: str, victim: Victim, untouched: Batched, left: Callable[[float], Batched], indices: Rows | None = None
) -> list[RobustnessRow]:
    """A row for the untouched images, and one for what survives at every level."""
    traits = victim.settings.traits(name)
    shown = ("transfer", traits.of or name) if traits.kind == "transfer" else ("attack", name)
    images = list_of(victim.content, "test", victim.indices(victim.settings.images) if indices is None else indices)

    def row(level: float, batches: Batched) -> RobustnessRow:
        right = torch.cat([batch.left for batch in batches]).cpu().numpy()
        return RobustnessRow(*shown, level, 100 * int(right.sum()) / len(right), len(right), **kept(right, images))

    return [row(0.0, untouched), *(row(level, left(level)) for level in victim.settings.levels(name))]


@contextmanager
def _seeded(seed: int, device: torch.device, *, restart: int = 0) -> Iterator[None]:
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        # restarts of one seed must not be the first starts of the next
        torch.manual_seed(int(np.random.SeedSequence((seed, restart)).generate_state(1)[0]) if restart else seed)
        yield
