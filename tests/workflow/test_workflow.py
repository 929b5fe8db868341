"""Real runs of a tiny benchmark: the whole way, where its configuration comes from, and what a mistake is told."""

from pathlib import Path

import pytest
import yaml
from tests.workflow.project import DENSE, EVERY_JOB, FIRST, NETWORK, ROOT, TICKET, TINY, clone, job_table

from layerlottery import paths
from layerlottery.config.loading import load_benchmark
from layerlottery.config.recipes import Recipes
from layerlottery.config.training import TrainingSettings
from layerlottery.store import lock
from layerlottery.store.artifacts import read_table
from layerlottery.upkeep.stale import find_stale


def one_line(ran):
    """The only line of stderr that a mistake in the configuration may print, beside Snakemake's about its profile."""
    assert ran.returncode != 0
    assert "Traceback" not in ran.stdout + ran.stderr
    lines = [
        line for line in ran.stderr.splitlines() if line.strip() and not line.startswith("Using workflow specific")
    ]
    assert len(lines) == 1, ran.stderr
    return lines[0]


# the whole way


def test_a_run_ends_with_report_and_tables(finished):
    assert job_table(finished.ran) == EVERY_JOB
    results = finished.root / "results"
    assert "a tiny benchmark" in (results / "report" / "index.html").read_text()
    rows = {name: len(read_table(results / "tables" / f"{name}.parquet")) for name in paths.TABLES}
    assert (rows["runs"], rows["curves"], rows["scores"], rows["summary"]) == (2, 4, 9, 3)
    runs = read_table(results / "tables" / "runs.parquet").to_pylist()
    assert [(row["removed"], row["epochs"], row["train_images"]) for row in runs] == [(0, 2, 60), (1, 2, 60)]


def test_a_run_leaves_a_log_of_every_job_and_no_leftovers(finished):
    results = finished.root / "results"
    logs = list((results / "logs").rglob("*.log"))
    assert len(logs) == sum(EVERY_JOB.values()) - 1
    assert list(results.rglob(".*")) == [results / lock.NAME]
    assert [path for path in (results / "checkpoints").rglob("*") if path.is_file()] == []


def test_every_file_lies_where_the_paths_say(finished):
    for run in (NETWORK, TICKET):
        assert (finished.root / paths.initial_weights(run)).is_file()
    for run in (DENSE, TICKET):
        for name in ("trained_weights", "curve", "training_facts", "attack", "shift", "detection"):
            assert (finished.root / getattr(paths, name)(run)).is_file()
    assert (finished.root / paths.ticket_facts(TICKET)).is_file()
    assert (finished.root / paths.profile(DENSE)).is_file()


def test_a_second_run_does_nothing(copied):
    ran = copied.snakemake()
    assert ran.returncode == 0
    assert "Nothing to be done" in ran.stdout + ran.stderr


# every kind of ticket


WIDER = FIRST | {"name": "wider", "scored_at": ["trained"]}


@pytest.mark.slow
def test_every_structure_and_start_runs_to_the_report_and_none_of_its_files_is_stale(copied):
    wider = [
        WIDER | {"name": "rewinding", "rewinds": [0, 1, "random"], "criteria": ["kl"], "fills": ["table1"]},
        WIDER
        | {
            "name": "structures",
            "scored_at": ["init"],
            "structures": ["layers", "filters", "weights"],
            "criteria": ["snip"],
            "fills": ["table3"],
        },
        WIDER | {"name": "draws", "scored_at": ["init"], "criteria": ["random"], "draws": 2, "fills": ["table2"]},
        WIDER | {"name": "figure3", "removed": [], "fills": ["figure3"]},
    ]
    config = TINY | {"studies": [FIRST, *wider]}
    copied.write(config)
    ran = copied.snakemake()
    assert ran.returncode == 0, ran.stderr
    tables = copied.root / "results" / "tables"
    runs = read_table(tables / "runs.parquet").to_pylist()
    assert len(runs) == 2 + 3 + 3 + 2
    filters = next(row for row in runs if row["structure"] == "filters")
    weights = next(row for row in runs if row["structure"] == "weights")
    layers = next(row for row in runs if row["structure"] == "layers" and row["criterion"] == "snip")
    assert filters["filters"] == filters["budget"] == layers["filters"]
    assert weights["params"] == weights["budget"] == layers["params"]
    for name in paths.PAPER:
        assert {path.suffix for path in tables.glob(f"{name}.*")} == {".parquet", ".md", ".tex"}
    assert find_stale(copied.results, [load_benchmark(config)]) == ([], 0)
    assert "Nothing to be done" in copied.snakemake().stderr


@pytest.mark.slow
def test_a_deleted_result_is_made_again_when_asked_for(copied):
    (copied.root / TICKET / "attack.parquet").unlink()
    assert copied.jobs(f"{TICKET}/attack.parquet") == {"attack_ticket": 1}


# where the configuration comes from


def test_without_a_configfile_config_yaml_counts(fresh):
    jobs = fresh.jobs(config=())
    study = yaml.safe_load((ROOT / "config.yaml").read_text())["studies"][0]
    dense = len(study["seeds"])
    # a seed's ticket and controls: two draws of two kinds of random removal, fresh weights, three architectures, costs
    tickets = dense * (1 + 2 * 2 + 1 + 3 + 2)
    assert (jobs["train_dense"], jobs["train_ticket"], jobs["shift"]) == (dense, tickets, dense + tickets)


def test_a_preset_inherits_nothing_and_files_after_it_are_laid_over_it(fresh):
    # config.yaml sets a schedule, a crop and more: none of it may leak into the preset
    fresh.write({"training": {"epochs": 3}}, "more.yaml")
    ran = fresh.snakemake(
        "--dry-run", "--printshellcmds", "--config", "results=else", config=("tiny.yaml", "more.yaml")
    )
    assert job_table(ran) == EVERY_JOB
    text = ran.stdout + ran.stderr
    assert text.count("""layerlottery train --settings '{"batch_size":30,"epochs":3}'""") == 2
    level = Recipes(training=TrainingSettings(epochs=3, batch_size=30)).level("tiny")
    assert f"--output else/{NETWORK.removeprefix('results/')}/recipe={level} " in text


def test_single_values_from_the_command_line(fresh):
    # Snakemake hands over every nested value of --config as text
    values = ("training={epochs: 3, weight_decay: 1e-3}", "datasets={digits: {train_size: 50}}")
    ran = fresh.snakemake("--dry-run", "--printshellcmds", "--config", *values)
    text = ran.stdout + ran.stderr
    assert text.count("""layerlottery train --settings '{"batch_size":30,"epochs":3,"weight_decay":0.001}'""") == 2
    assert '"train_size":50}' in text
    ran = fresh.snakemake("--dry-run", "--config", "training={epochs: two}")
    assert one_line(ran) == 'layerlottery: configuration: training.epochs: found "two"; input should be a valid integer'


# mistakes


def test_a_bad_configuration_is_one_line_and_deletes_nothing(copied):
    before = sorted(str(path) for path in copied.root.glob("results/**/*"))
    study = TINY["studies"][0] | {"criteria": ["magic"]}
    copied.write(TINY | {"studies": [study]}, "bad.yaml")
    line = one_line(copied.snakemake(config=("bad.yaml",)))
    expected = "found 'magic'; allowed: angular, angular_deepest, block_influence, cka, cka_iterative"
    assert line.startswith(f"layerlottery: configuration: studies.tiny.criteria: {expected}")
    assert sorted(str(path) for path in copied.root.glob("results/**/*")) == before


def test_what_can_be_known_is_said_before_any_work_and_results_stay(copied):
    before = sorted(str(path) for path in copied.root.glob("results/**/*"))
    copied.write(TINY, "bad.yaml")
    with (copied.root / "bad.yaml").open("a") as file:
        file.write("\nstudies: []\n")
    line = one_line(copied.snakemake(config=("bad.yaml",)))
    assert "bad.yaml: the key 'studies' stands twice, in lines" in line
    line = one_line(copied.snakemake("--config", "training={crop: 9}"))
    assert line == "layerlottery: configuration: training.crop: found 9; the images of digits have 8 pixels a side"
    assert sorted(str(path) for path in copied.root.glob("results/**/*")) == before


def tamper(path):
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)


def test_a_tampered_file_fails_its_jobs_and_is_named(copied):
    weights = copied.root / TICKET / "weights.safetensors"
    tamper(weights)
    (copied.root / DENSE / "attack.parquet").unlink()
    ran = copied.snakemake("--keep-going")
    assert ran.returncode != 0
    lines = [line for line in ran.stderr.splitlines() if line.startswith("layerlottery: ")]
    message = f"{TICKET}/weights.safetensors: its content does not match its hash"
    assert lines
    assert all(line.startswith(f"layerlottery: {message}") for line in lines)
    log = copied.root / "results/logs/attack" / TICKET.removeprefix("results/")
    assert message in Path(f"{log}.log").read_text()
    # the other network's job is done, its files and the broken one's neighbours are still there
    assert (copied.root / DENSE / "attack.parquet").is_file()
    assert (copied.root / DENSE / "weights.safetensors").is_file()
    assert weights.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.safetensors", "attack.parquet", "ticket.json"])
def test_a_tampered_file_heals_when_deleted_and_asked_for(copied, name):
    path = copied.root / TICKET / name
    tamper(path)
    failed = copied.snakemake()
    assert failed.returncode != 0
    assert f"layerlottery: {TICKET}/{name}: " in failed.stderr
    path.unlink()
    # Snakemake puts the outputs of a failed job back, so a plain run finds nothing to do: the file must be asked for
    for words in ([f"{TICKET}/{name}"], []):
        healed = copied.snakemake(*words)
        assert healed.returncode == 0, healed.stderr
    assert path.is_file()
    assert (copied.root / "results" / "report" / "index.html").is_file()


def test_lint_finds_nothing(fresh):
    ran = fresh.snakemake("--lint")
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert "Congratulations" in ran.stderr + ran.stdout


def test_an_environment_is_asked_for_where_it_is_wanted(tmp_path):
    # elsewhere no rule has an environment, since Snakemake would work out that of each job
    project = clone(tmp_path)
    asked, plain = (project.snakemake("--dry-run", *words) for words in (["--sdm", "conda"], []))
    # without conda it says that it misses it, with conda what it would install
    said = (asked.stdout + asked.stderr).replace("--sdm conda", "")
    assert "conda" in said.lower()
    assert plain.returncode == 0
    assert "conda" not in (plain.stdout + plain.stderr).lower()
