"""The stage `prune`: initial weights and scores in, the ticket's initial weights out. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerlottery.criteria.selection import select, tied
from layerlottery.errors import LayerLotteryError
from layerlottery.results.artifacts import read_facts, read_weights, write_facts, write_tensors
from layerlottery.results.provenance import config_hash
from layerlottery.settings import Settings


def prune(weights: Path, scores: Path, output: Path, output_facts: Path, *, density: int) -> dict[str, Any]:
    """Remove the `density` lowest-scored blocks; the kept blocks keep their names and weights bit for bit."""
    tensors, dense = read_weights(weights)
    scored = read_facts(scores)
    removed = select(scored["blocks"], density)
    for name in removed:
        if not any(tensor.startswith(f"{name}.") for tensor in tensors):
            raise LayerLotteryError(f"{scores}: its block {name} is not in {weights}")
    kept = {
        name: array for name, array in tensors.items() if not any(name.startswith(f"{block}.") for block in removed)
    }
    made_by = config_hash("prune", Settings(), [dense["content"], scored["config_hash"]], density=density)
    architecture = dense["architecture"] | {"removed": removed}
    write_tensors(output, kept, {"architecture": architecture}, config_hash=made_by)
    facts = {
        "density": density,
        "removed": removed,
        "kept": [block["name"] for block in scored["blocks"] if block["name"] not in removed],
        "ties": tied(scored["blocks"], removed),
        "criterion_settings": scored["settings"],
    }
    write_facts(output_facts, facts, config_hash=made_by)
    return facts
