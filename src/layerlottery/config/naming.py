"""How networks are called wherever people read of them: a criterion, and what sets a ticket apart from a plain one."""

from __future__ import annotations

from layerlottery.config.studies import FRESH, Run

CALLED = {"filters_at_macs": "filters, MACs", "dense_at_cost": "dense at cost"}


def family_name(criterion: str, variant: str) -> str:
    """How a criterion's tickets of one variant are called."""
    return f"{criterion} ({variant})" if variant else criterion


def variant_name(structure: str, scored_at: str | None, rewind: str = "0") -> str:
    """The difference of a ticket from blocks that were scored, removed and trained at θ0: as filters, rewind 25."""
    words = [CALLED.get(structure, structure)] if structure != "layers" else []
    words += ["trained"] if scored_at == "trained" else []
    words += ["fresh weights"] if rewind == FRESH else [f"rewind {rewind}"] if rewind != "0" else []
    return ", ".join(words)


def run_name(run: Run) -> str:
    """One network in words: snip (fresh weights), 2 removed, seed 1, resnet20 on digits."""
    chosen = ["dense"]
    if run.criterion is not None:
        chosen = [family_name(run.criterion, variant_name(run.structure, run.scored_at, run.rewind))]
        chosen += [f"{run.removed} removed", *([f"draw {run.draw}"] if run.draw else [])]
    return ", ".join([*chosen, f"seed {run.seed}", f"{run.network} on {run.dataset}"])
