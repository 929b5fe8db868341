"""The stage `profile`: parameters, MACs, memory and latency of a dense network and its tickets.

One process measures a whole family, so that latencies are taken in turns and compare within one run.
Architectures that many tickets share are measured once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layerlottery.config.provenance import config_hash
from layerlottery.config.results import ProfileSettings
from layerlottery.cost.latency import latency
from layerlottery.cost.network import filters, macs, parameters, step_memory
from layerlottery.data.prepared import PreparedSet
from layerlottery.networks.masks import fold_masks
from layerlottery.networks.weights import build
from layerlottery.store.artifacts import read_stamped, read_weights, write_facts
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import digest


def profile(
    weights: Path,
    tickets: Sequence[Path],
    data: Path,
    output: Path,
    settings: ProfileSettings,
    *,
    batch_size: int,
    threads: int,
    device: torch.device,
    copies: int = 1,
) -> None:
    """Write what each architecture costs; `weights` is the dense network's θ0, `tickets` are ticket.json files.

    Rows carry the digest of an architecture, as the tickets' facts hold it; `dense` is that of the dense one.
    `batch_size` (images) is that of the training whose memory is counted, `copies` how many tensors as large as the
    parameters it holds beside them and their gradients (TrainingSettings.held_copies).
    """
    prepared = PreparedSet.open(data)
    held, chain = read_weights(weights)[1], Chain()
    chain.set("profile", settings.slice())
    chain.add(data, prepared.content)
    chain.add(weights, held["content"], held["stamp"])
    dense = held["architecture"]
    architectures = {digest(one): one for one in (dense, *(_architecture(ticket, chain) for ticket in tickets))}
    models = {name: build(architecture).to(device).eval() for name, architecture in architectures.items()}
    shape = (prepared.channels, prepared.image_size, prepared.image_size)
    step: dict[str, Any] = {"batch_size": batch_size, "copies": copies}
    costs = _distinct_costs(models.values(), shape, settings, step=step, threads=threads)
    facts = {
        "dense": digest(dense),
        "architectures": [
            {"architecture": name, "filters": filters(model), "params": parameters(model)} | costs[_signature(model)]
            for name, model in models.items()
        ],
        **step,
        "latency_batch": settings.latency_batch,
        "latency_threads": threads,
    }
    made_by = config_hash("profile", settings, [prepared.content], architectures=sorted(models), **step)
    write_facts(output, facts, config_hash=made_by, inputs=chain.inputs)


def _architecture(ticket: Path, chain: Chain) -> Any:
    facts, stamp = read_stamped(ticket)
    chain.add(ticket, stamp.content, stamp)
    return facts["architecture"]


def _signature(model: nn.Module) -> str:
    """Equal for networks of equal layers: whichever of several equal blocks was removed, and whatever is masked."""
    return str([tuple(parameter.shape) for parameter in fold_masks(model).parameters()])


def _distinct_costs(
    models: Iterable[nn.Module],
    shape: tuple[int, int, int],
    settings: ProfileSettings,
    *,
    step: dict[str, Any],
    threads: int,
) -> dict[str, dict[str, Any]]:
    # a mask skips no work without sparse kernels: masked networks cost what dense ones do
    distinct = {_signature(model): fold_masks(model) for model in models}
    times = latency(
        distinct,
        shape,
        batch_size=settings.latency_batch,
        rounds=settings.rounds,
        min_seconds=settings.min_seconds,
        threads=threads,
    )
    return {
        name: {
            "macs": macs(model, shape),
            "memory_bytes": step_memory(model, shape, **step),
            "latency_ms": times[name],
        }
        for name, model in distinct.items()
    }
