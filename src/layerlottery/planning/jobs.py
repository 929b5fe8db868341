"""The jobs that the rules make of a benchmark, and which of them are still to do.

A mirror of workflow/rules: a test compares its counts with Snakemake's own dry run. No torch is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark, Wildcards
from layerlottery.config.studies import FRESH, Run, expand_scorings

STAGES = {
    "prepare": ("prepare",),
    "corrupt": ("corrupt",),
    "outliers": ("outliers",),
    "initialize": ("initialize", "reinitialize"),
    "score": ("score", "score_weights"),
    "prune": ("prune",),
    "rewind": ("rewind",),
    "train": ("train_dense", "train_ticket"),
    "attack": ("attack", "attack_ticket"),
    "shift": ("shift",),
    "compare": ("compare",),
    "profile": ("profile",),
    "results": ("aggregate", "tabulate", "report", "manifest"),
}
STAGE_OF = {rule: stage for stage, rules in STAGES.items() for rule in rules}


@dataclass(frozen=True)
class Job:
    """One job of a rule: the files that it reads and writes, and the network that it is about."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dataset: str | None = None
    run: Run | None = None

    @property
    def stage(self) -> str:
        """The stage that the rule belongs to."""
        return STAGE_OF[self.rule]


def jobs_of(benchmark: Benchmark) -> list[Job]:
    """Every job of the target `all`, itself left out, each after those whose files it reads."""
    runs = benchmark.runs()
    dense = list(dict.fromkeys(run.dense for run in runs))
    tickets = [run for run in runs if run.removed]
    made = [job for name in dict.fromkeys(run.dataset for run in dense) for job in _of_dataset(benchmark, name)]
    made += [_initialize(benchmark, run, "initialize", "0") for run in dense]
    made += [_train(benchmark, run) for run in dense]
    made += _starts(benchmark, tickets)
    made += [_score(benchmark, scoring) for scoring in _scorings(benchmark, tickets)]
    made += [job for run in tickets for job in (_prune(benchmark, run), _train(benchmark, run))]
    made += [job for run in runs for job in _evaluations(benchmark, run)]
    made += [_profile(benchmark, run) for run in dense]
    return made + list(_results(benchmark))


def to_do(benchmark: Benchmark, jobs: Iterable[Job]) -> list[Job]:
    """The jobs that are left when every file that exists counts as made.

    A job runs when what the last stages, the benchmark's end or a running job need of it is missing, and after every
    running job whose files it reads. Snakemake compares parameters and contents on top of that, and may run more.
    """
    jobs = list(jobs)
    missing = {file for job in jobs for file in job.outputs if not Path(file).exists()}
    # what the last stages read is made by others, or missing: a benchmark that grew asks for new networks
    targets = {benchmark.folders.report(), benchmark.folders.manifest()}
    targets |= {file for job in jobs if job.stage == "results" for file in job.inputs}
    running: set[Job] = set()
    while True:
        before, asked = len(running), {file for job in running for file in job.inputs} | targets
        for job in reversed(jobs):
            if job in running or not asked.isdisjoint(missing.intersection(job.outputs)):
                running.add(job)
                asked |= set(job.inputs)
        written = {file for job in running for file in job.outputs}
        for job in jobs:
            if job in running or not written.isdisjoint(job.inputs):
                running.add(job)
                written |= set(job.outputs)
        if len(running) == before:
            return [job for job in jobs if job in running]


def _root(benchmark: Benchmark, run: Run) -> str:
    return f"{benchmark.results}/{run.folder}"


def _data(benchmark: Benchmark, name: str) -> str:
    return benchmark.folders.dataset.format(dataset=name)


def _of_dataset(benchmark: Benchmark, name: str) -> Iterator[Job]:
    folder = _data(benchmark, name)
    facts = paths.prepared(folder)
    yield Job("prepare", (), (facts, *paths.prepared_arrays(folder)), name)
    yield Job("corrupt", (facts,), (paths.corrupted_images(folder), paths.corrupted_facts(folder)), name)
    yield Job("outliers", (facts,), (paths.outlier_images(folder), paths.outlier_facts(folder)), name)


def _initialize(benchmark: Benchmark, run: Run, rule: str, rewind: str) -> Job:
    facts, folder = paths.prepared(_data(benchmark, run.dataset)), _root(benchmark, run.dense)
    return Job(rule, (facts,), (paths.start_weights(folder, rewind),), run.dataset, run.dense)


def _train(benchmark: Benchmark, run: Run) -> Job:
    folder, rule = _root(benchmark, run), "train_ticket" if run.removed else "train_dense"
    inputs = paths.initial_weights(folder), paths.prepared(_data(benchmark, run.dataset))
    outputs = paths.trained_weights(folder), paths.curve(folder), paths.training_facts(folder)
    return Job(rule, inputs, outputs, run.dataset, run)


def _starts(benchmark: Benchmark, tickets: Iterable[Run]) -> Iterator[Job]:
    wanted = dict.fromkeys(replace(run.dense, rewind=run.rewind) for run in tickets if run.rewind != "0")
    for start in wanted:
        folder = _root(benchmark, start.dense)
        if start.rewind == FRESH:
            yield _initialize(benchmark, start, "reinitialize", FRESH)
            continue
        inputs = paths.initial_weights(folder), paths.trained_weights(folder)
        yield Job("rewind", inputs, (paths.start_weights(folder, start.rewind),), start.dataset, start.dense)


def _scorings(benchmark: Benchmark, tickets: Iterable[Run]) -> list[Run]:
    """What the tables show, what chooses the tickets, and the blocks that set the budget of filters and weights."""
    shown = [scoring for scoring in expand_scorings(benchmark.studies) if scoring.structure != "weights"]
    for run in tickets:
        scoring = replace(run, removed=0, rewind="0")
        shown.append(scoring)
        if run.structure != "layers" and run.criterion is not None:
            budget = benchmark.criterion(run.criterion).budget or run.criterion
            shown.append(replace(scoring, structure="layers", criterion=budget))
    return list(dict.fromkeys(shown))


def _score(benchmark: Benchmark, scoring: Run) -> Job:
    weights = scoring.structure == "weights"
    name = paths.element_scores if weights else paths.scores
    data = paths.prepared(_data(benchmark, scoring.dataset))
    inputs = benchmark.scored_weights(cast(Wildcards, scoring)), data
    output = name(f"{benchmark.results}/{scoring.scored}")
    return Job("score_weights" if weights else "score", inputs, (output,), scoring.dataset, scoring)


def _prune(benchmark: Benchmark, run: Run) -> Job:
    wanted = cast(Wildcards, run)
    given = benchmark.start_weights(wanted), benchmark.pruning_scores(wanted), *benchmark.budget_scores(wanted)
    folder = _root(benchmark, run)
    return Job("prune", given, (paths.initial_weights(folder), paths.ticket_facts(folder)), run.dataset, run)


def _evaluations(benchmark: Benchmark, run: Run) -> Iterator[Job]:
    folder, data = _root(benchmark, run), _data(benchmark, run.dataset)
    trained, facts = paths.trained_weights(folder), paths.prepared(data)
    made = paths.corrupted_facts(data), paths.outlier_facts(data)
    yield Job("shift", (trained, facts, *made), (paths.shift(folder), paths.detection(folder)), run.dataset, run)
    if not run.removed:
        yield Job("attack", (trained, facts), (paths.attack(folder),), run.dataset, run)
        return
    both = trained, paths.trained_weights(_root(benchmark, run.dense)), facts
    yield Job("attack_ticket", both, (paths.attack(folder),), run.dataset, run)
    yield Job("compare", both, (paths.similarity(folder),), run.dataset, run)


def _profile(benchmark: Benchmark, run: Run) -> Job:
    folder = _root(benchmark, run)
    inputs = paths.initial_weights(folder), *benchmark.family_tickets(cast(Wildcards, run))
    return Job("profile", inputs, (paths.profile(folder),), run.dataset, run)


def _results(benchmark: Benchmark) -> Iterator[Job]:
    folders = benchmark.folders
    tables = tuple(paths.table(folders.tables, name) for name in paths.TABLES)
    paper = tuple(paths.table(folders.tables, name, kind) for name in paths.PAPER for kind in ("parquet", "md", "tex"))
    yield Job("aggregate", tuple(benchmark.network_results()), tables)
    yield Job("tabulate", tables, paper)
    yield Job("report", (*tables, *(paths.table(folders.tables, name) for name in paths.PAPER)), (folders.report(),))
    yield Job("manifest", tuple(paths.table_files(folders.tables)), (folders.manifest(),))
