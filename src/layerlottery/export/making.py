"""The commands that recreate a network of a benchmark, with its settings written out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.config.studies import Run
from layerlottery.upkeep.show import StoredNetwork

Settings = Mapping[str, Any]


def making(network: StoredNetwork, settings: Settings) -> list[str]:
    """Shell lines, in the folder that holds the results; one of Snakemake where the stages need each other's files."""
    run, results = network.run, Path(network.prefix).name or "results"
    if run.removed and (run.structure != "layers" or run.rewind != "0" or run.before):
        return [f"snakemake --cores all {shlex.quote(f'{results}/{paths.trained_weights(run.folder)}')}"]
    return list(_stages(run, results, settings))


def _stages(run: Run, results: str, settings: Settings) -> Iterator[str]:
    made = paths.Folders(results)
    data = paths.prepared(made.dataset.format(dataset=run.dataset))
    folder = f"{results}/{run.dense.folder}"
    initial, seed = paths.start_weights(folder, "0"), run.seed
    yield _line("prepare", settings["dataset"], output=str(Path(data).parent))
    yield _line("initialize", settings["network"], data=data, seed=seed, output=initial)
    if not run.removed or run.scored_at == "trained":
        yield _line("train", settings["training"], weights=initial, data=data, seed=seed, output=folder)
    if not run.removed:
        return
    scored = initial if run.scored_at == "init" else paths.trained_weights(folder)
    scores, ticket = paths.scores(f"{results}/{run.scored}"), f"{results}/{run.folder}"
    yield _line("score", settings["criterion"], weights=scored, data=data, seed=seed, draw=run.draw, output=scores)
    start, facts = paths.initial_weights(ticket), paths.ticket_facts(ticket)
    yield _line("prune", None, weights=initial, scores=scores, removed=run.removed, output=start, output_facts=facts)
    yield _line("train", settings["training"], weights=start, data=data, seed=seed, output=ticket)


def _line(stage: str, settings: Settings | None, **options: object) -> str:
    words = ["layerlottery", stage]
    if settings is not None:
        words += ["--settings", json.dumps(settings, separators=(",", ":"))]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
