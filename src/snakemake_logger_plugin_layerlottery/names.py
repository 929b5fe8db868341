"""Jobs in the field's words: a stage, and the network that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerlottery.paths import WILDCARDS
from layerlottery.words import one_line

# as the report calls them
STRUCTURES = {"filters_at_macs": "filters, MACs", "dense_at_cost": "dense at cost"}


def about(outputs: Sequence[str], results: str = "") -> dict[str, str]:
    """The key=value parts of a job's first output below the results folder, such as dataset and seed; {} for tables."""
    path = outputs[0].removeprefix(f"{results}/").removesuffix(".safetensors") if outputs else ""
    pairs = (part.partition("=") for part in path.split("/"))
    return {name: value for name, equals, value in pairs if equals and name in WILDCARDS}


def network_name(found: Mapping[str, str], *, several: bool = False) -> str:
    """A network in words: `snip, 2 removed, seed 1`; `several` also names its image set and architecture."""
    words = [found[name] for name in ("dataset", "network") if name in found] if several or "seed" not in found else []
    criterion = found.get("criterion", "dense" if "network" in found else None)
    words += [criterion] if criterion else []
    structure = found.get("structure", "layers")
    words += [] if structure == "layers" else [STRUCTURES.get(structure, structure)]
    words += [f"draw {found['draw']}"] if found.get("draw", "0") != "0" else []
    words += ["trained"] if found.get("scored_at") == "trained" else []
    words += [f"{found['removed']} removed"] if "removed" in found else []
    rewind = found.get("rewind", "0")
    words += ["fresh weights"] if rewind == "random" else [f"rewind {rewind}"] if rewind != "0" else []
    words += [f"seed {found['seed']}"] if "seed" in found else []
    return one_line(", ".join(words))
