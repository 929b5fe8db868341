"""Stage compare: how alike a trained ticket and its dense network see the test images, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.config.evaluation import FEWEST_COMPARED, CompareSettings
from layerlottery.config.provenance import config_hash
from layerlottery.data.batches import BATCH_SIZE
from layerlottery.data.prepared import Images, PreparedSet, select_images
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.conditions import table_of
from layerlottery.evaluation.forward import to_unit_interval
from layerlottery.networks.blocks import residual_blocks
from layerlottery.networks.features import PENULTIMATE, captured
from layerlottery.networks.predictor import load_predictor
from layerlottery.similarity.cka import cka_of, gram, hsic
from layerlottery.store import artifacts
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import canonical

COLUMNS = ("layer", "stage", "position", "cka", "images")


def compare(
    weights: Path, dense: Path, data: Path, output: Path, settings: CompareSettings, *, device: torch.device
) -> None:
    """Write the debiased linear CKA of every block that both networks have, and of their penultimate features.

    `weights` are those of the ticket. A layer whose outputs do not change from image to image in one of the
    networks, or are not finite, has no CKA: null. Raises LayerLotteryError when the ticket is no part of the
    dense network, and for fewer than 4 images.
    """
    prepared = PreparedSet.open(data)
    (ticket, facts), (whole, dense_facts) = (load_predictor(path, prepared, device) for path in (weights, dense))
    chain = Chain()
    chain.set("compare", settings.slice())
    chain.add(data, prepared.content)
    for path, held in ((weights, facts), (dense, dense_facts)):
        chain.add(path, held["content"], held["stamp"])
    _check_architectures(weights, facts["architecture"], dense, dense_facts["architecture"])
    test = prepared.split("test")
    images = test.images[select_images(test.labels, settings.images, seed=0)]
    if len(images) < FEWEST_COMPARED:
        raise LayerLotteryError(
            f"images: found {len(images)}; debiased CKA takes {FEWEST_COMPARED} test images or more"
        )
    removed_blocks = facts["architecture"]["removed_blocks"]
    layers = _layers(whole.get_submodule("network"), to_unit_interval(images[:2], device), removed_blocks)
    values = similarities(whole, ticket, images, list(layers), device=device)
    rows = [
        place | {"layer": name, "cka": None if math.isnan(values[name]) else values[name], "images": len(images)}
        for name, place in layers.items()
    ]
    made_by = config_hash("compare", settings, [facts["content"], dense_facts["content"], prepared.content])
    table = table_of("similarity", rows, COLUMNS)
    artifacts.write_table(output, table, config_hash=made_by, inputs=chain.inputs)


def similarities(
    dense: nn.Module,
    ticket: nn.Module,
    images: Images,
    names: Sequence[str],
    *,
    device: torch.device,
    batch_size: int = BATCH_SIZE,
) -> dict[str, float]:
    """Debiased linear CKA of two predictors' named layers for uint8 images (N, C, H, W); nan where there is none.

    Exact up to `batch_size` images. More are dealt out to equal batches, over which the unbiased estimates of
    HSIC are averaged (Nguyen et al. 2021): a Gram matrix of all images would outgrow the memory.
    """
    count = math.ceil(len(images) / batch_size)
    totals = {name: torch.zeros(3, dtype=torch.float64, device=device) for name in names}
    for start in range(count):
        # every count-th image: a set sorted by class would give batches of one class
        batch = to_unit_interval(images[start::count], device)
        first, second = (grams(model, batch, names) for model in (dense, ticket))
        for name in names:
            totals[name] += hsic(first[name], second[name])
    return {name: cka_of(total) for name, total in totals.items()}


@torch.inference_mode()
def grams(predictor: nn.Module, batch: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Gram matrix (N, N), float64, of each named layer's outputs for one batch."""
    network = predictor.get_submodule("network")
    found: dict[str, Tensor] = {}
    with captured(network, names, example=batch[:2]) as held, ExitStack() as hooks:
        for name in names:
            if name != PENULTIMATE:
                # runs after `captured`'s own; the maps of all layers together would fill the memory
                hook = network.get_submodule(name).register_forward_hook(
                    lambda *_, name=name: found.__setitem__(name, gram(held.pop(name)))
                )
                hooks.callback(hook.remove)
        predictor(batch)
        found |= {name: gram(left) for name, left in held.items()}
    return found


def _layers(dense: nn.Module, example: Tensor, removed_blocks: Collection[str]) -> dict[str, dict[str, object]]:
    """Stage and position, in the dense network, of the blocks that the ticket kept; the penultimate layer is last."""
    blocks = residual_blocks(dense, example)
    layers: dict[str, dict[str, object]] = {
        block.name: {"stage": block.stage, "position": position}
        for position, block in enumerate(blocks, start=1)
        if block.name not in removed_blocks
    }
    return layers | {PENULTIMATE: {"stage": None, "position": len(blocks) + 1}}


def _check_architectures(weights: Path, ticket: Mapping[str, Any], dense: Path, whole: Mapping[str, Any]) -> None:
    if whole["removed_blocks"]:
        raise LayerLotteryError(f"{dense}: found a ticket; the network to compare with is a dense one")
    # pruning adds to an architecture, and changes none of its other entries
    for key, allowed in whole.items():
        if key != "removed_blocks" and ticket.get(key) != allowed:
            raise LayerLotteryError(
                f"{weights}: found {key} {canonical(ticket.get(key))}; a ticket of {dense} has {canonical(allowed)}"
            )
