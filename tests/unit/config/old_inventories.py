"""The four inventories that the stage table replaces, kept for one commit as its oracle."""

from pathlib import PurePosixPath

from layerlottery import paths
from layerlottery.config.studies import FRESH, expand_scorings
from layerlottery.store import lock

HERE = paths.Folders(".")
NETWORKS, STARTS = (paths.DENSE, paths.TICKET), (paths.START, paths.FRESH_START)
TRAINED = (paths.trained_weights, paths.curve, paths.training_facts)
EVALUATED = (paths.initial_weights, paths.attack, paths.shift, paths.detection)
MADE = (
    paths.prepared(paths.DATASET),
    *paths.prepared_arrays(paths.DATASET),
    paths.corrupted_images(paths.DATASET),
    paths.corrupted_facts(paths.DATASET),
    paths.outlier_images(paths.DATASET),
    paths.outlier_facts(paths.DATASET),
    *(name(run) for run in NETWORKS for name in (*TRAINED, *EVALUATED)),
    *(f"{start}.safetensors" for start in STARTS),
    paths.profile(paths.DENSE),
    paths.scores(paths.SCORED),
    paths.element_scores(paths.SCORED),
    paths.ticket_facts(paths.TICKET),
    paths.similarity(paths.TICKET),
    *paths.table_files("tables"),
    HERE.report(),
    HERE.manifest(),
)
ON_THE_WAY = (
    *(name for run in NETWORKS for name in paths.training_state(HERE.checkpoint(run)) if not name.endswith(".lock")),
    HERE.checkpoint(paths.START),
    paths.kept_weights(HERE.kept(paths.DENSE), "{epoch}"),
    *(paths.attack_progress(HERE.checkpoint(run)) for run in NETWORKS),
)


def _of_dataset(folder):
    prepared = [paths.prepared(folder), *paths.prepared_arrays(folder)]
    corrupted = [paths.corrupted_images(folder), paths.corrupted_facts(folder)]
    outliers = [paths.outlier_images(folder), paths.outlier_facts(folder)]
    return [*prepared, *corrupted, *outliers, *_logs(folder, "prepare", "corrupt", "outliers")]


def _of_dense(folder):
    own = [paths.initial_weights(folder), paths.profile(folder), *_logs(folder, "initialize", "profile")]
    return own + _of_training(folder)


def _of_training(folder):
    trained = [paths.trained_weights(folder), paths.curve(folder), paths.training_facts(folder)]
    evaluated = [paths.attack(folder), paths.shift(folder), paths.detection(folder)]
    logs, checkpoint = _logs(folder, "train", "attack", "shift"), HERE.checkpoint(folder)
    return [*trained, *evaluated, *logs, *paths.training_state(checkpoint), paths.attack_progress(checkpoint)]


def _of_ticket(folder):
    pruned = [paths.initial_weights(folder), paths.ticket_facts(folder), paths.similarity(folder)]
    return [*pruned, *_logs(folder, "prune", "compare"), *_of_training(folder)]


def _of_start(dense, rewind):
    start = f"{dense}/rewind={rewind}"
    made = [paths.start_weights(dense, rewind)]
    if rewind == FRESH:
        return made + _logs(start, "initialize")
    kept = paths.kept_weights(HERE.kept(dense), rewind)
    return [*made, kept, *_logs(start, "rewind"), *paths.training_state(HERE.checkpoint(start))]


def _of_scores(file):
    return [file, *_logs(str(PurePosixPath(file).parent), "score")]


def _of_benchmark():
    made = [*paths.table_files(HERE.tables), HERE.report(), HERE.manifest(), f"./{lock.NAME}"]
    return [*made, *(HERE.log(stage) for stage in ("aggregate", "tabulate", "manifest", "report"))]


def _logs(folder, *stages):
    return [HERE.log(stage, str(PurePosixPath(folder))) for stage in stages]


def asked_files(benchmark):
    here = benchmark.model_copy(update={"results": "."})
    runs, scorings = here.runs(), expand_scorings(here.studies)
    files = _of_benchmark()
    for dataset in {run.dataset for run in runs}:
        files += _of_dataset(HERE.dataset.format(dataset=dataset))
    for run in runs:
        if not run.removed:
            files += _of_dense(f"./{run.folder}")
            continue
        files += _of_ticket(f"./{run.folder}")
        if run.rewind != "0":
            files += _of_start(f"./{run.dense.folder}", run.rewind)
        for scores in [here.pruning_scores(run), *here.budget_scores(run)]:
            files += _of_scores(scores)
    for scoring in scorings:
        if scoring.structure != "weights":
            files += _of_scores(paths.scores(f"./{scoring.scored}"))
    return {str(PurePosixPath(file)) for file in files}


def patterns():
    starts = [*_of_start(HERE.dense, "{epoch}"), *_of_start(HERE.dense, FRESH)]
    scores = [file for name in (paths.scores, paths.element_scores) for file in _of_scores(name(HERE.scored))]
    owned = {
        HERE.dataset: _of_dataset(HERE.dataset),
        HERE.dense: _of_dense(HERE.dense) + starts,
        HERE.scored: scores,
        HERE.ticket: _of_ticket(HERE.ticket),
        ".": _of_benchmark(),
    }
    plain = {(str(PurePosixPath(file)), str(PurePosixPath(owner))) for owner, files in owned.items() for file in files}
    return plain


def network_results(benchmark):
    folders = [f"{benchmark.results}/{run.folder}" for run in benchmark.runs()]
    each = (paths.training_facts, paths.curve, paths.shift, paths.detection, paths.attack)
    files = [file(folder) for folder in folders for file in each]
    for family in benchmark.families.values():
        files += [paths.ticket_facts(f"{benchmark.results}/{run.folder}") for run in family]
        files += [paths.similarity(f"{benchmark.results}/{run.folder}") for run in family]
    dense = {run.dense: None for run in benchmark.runs()}
    files += [paths.profile(f"{benchmark.results}/{run.folder}") for run in dense]
    scored = [run for run in expand_scorings(benchmark.studies) if run.structure != "weights"]
    return files + [paths.scores(f"{benchmark.results}/{run.scored}") for run in scored]


def expected(run):
    each = [paths.initial_weights, paths.trained_weights, paths.curve]
    each += [paths.training_facts, paths.shift, paths.detection, paths.attack]
    each += [paths.ticket_facts, paths.similarity] if run.removed else [paths.profile]
    return [name(run.folder) for name in each]
