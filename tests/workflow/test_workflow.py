"""Real runs of a tiny benchmark: what runs, what does not run again, and what a user reads after a mistake."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from layerlottery import paths
from layerlottery.results.artifacts import read_table

ROOT = Path(__file__).parents[2]
DENSE = "results/networks/dataset=digits/network=tiny/seed=0"
TICKET = f"{DENSE}/structure=layers/criterion=l1/draw=0/scored_at=init/density=1/rewind=0"

TINY = {
    "datasets": {"digits": {"source": "digits", "train_size": 60, "test_size": 30}},
    "networks": {"tiny": {"depth": 20, "width": 2}},
    "criteria": {"l1": {"images_per_class": 1}},
    "studies": [
        {
            "name": "tiny",
            "datasets": ["digits"],
            "networks": ["tiny"],
            "seeds": [0],
            "criteria": ["l1"],
            "densities": [1],
        }
    ],
    "training": {"epochs": 1, "batch_size": 30},
    "attack": {"attacks": ["pgd"], "epsilons": [8.0], "pgd_steps": 2, "images": 20},
    "corruptions": {"names": ["contrast"], "severities": [3], "images": 20},
    "profile": {"rounds": 1, "min_seconds": 0.001},
    "report": {"title": "a tiny benchmark"},
}
EVERY_JOB = {
    "prepare": 1,
    "corrupt": 1,
    "initialize": 1,
    "score": 1,
    "prune": 1,
    "train_dense": 1,
    "train_ticket": 1,
    "attack": 2,
    "shift": 2,
    "compare": 1,
    "profile": 1,
    "aggregate": 1,
    "tabulate": 1,
    "report": 1,
    "all": 1,
}
PER_SEED = {name: count for name, count in EVERY_JOB.items() if name not in ("prepare", "corrupt")}


class Project:
    """A folder with the workflow in it, as a user has cloned it."""

    def __init__(self, root):
        self.root = root
        self.write(TINY)

    def write(self, config, name="tiny.yaml"):
        (self.root / name).write_text(yaml.safe_dump(config))

    def snakemake(self, *words, config=("tiny.yaml",)):
        """Run Snakemake; `config` are the files given with --configfile."""
        files = ["--configfile", *config] if config else []
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *words, *files]
        scripts = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=600)

    def jobs(self, *words, **options):
        """The jobs that a dry run announces: rule -> number."""
        ran = self.snakemake("--dry-run", *words, **options)
        assert ran.returncode == 0, ran.stderr
        return job_table(ran)

    def copy(self, folder):
        shutil.copytree(self.root, folder, dirs_exist_ok=True)
        return Project(folder)


def job_table(ran):
    text = ran.stdout + ran.stderr
    table = text.partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def clone(folder):
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return Project(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("finished"))
    project.ran = project.snakemake()
    assert project.ran.returncode == 0, project.ran.stderr
    return project


@pytest.fixture
def fresh(tmp_path):
    return clone(tmp_path)


@pytest.fixture
def copied(finished, tmp_path):
    return finished.copy(tmp_path)


def one_line(ran):
    """The only line of stderr that a mistake in the configuration may print."""
    assert ran.returncode != 0
    assert "Traceback" not in ran.stdout + ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ran.stderr
    return lines[0]


# the whole way


def test_a_run_ends_with_report_and_tables(finished):
    assert job_table(finished.ran) == EVERY_JOB
    results = finished.root / "results"
    assert "a tiny benchmark" in (results / "report" / "index.html").read_text()
    rows = {name: len(read_table(results / "tables" / f"{name}.parquet")) for name in paths.TABLES}
    assert (rows["runs"], rows["curves"], rows["scores"], rows["summary"]) == (2, 2, 9, 3)
    runs = read_table(results / "tables" / "runs.parquet").to_pylist()
    assert [(row["density"], row["epochs"], row["train_images"]) for row in runs] == [(0, 1, 60), (1, 1, 60)]


def test_a_run_leaves_a_log_of_every_job_and_no_leftovers(finished):
    results = finished.root / "results"
    logs = list((results / "logs").rglob("*.log"))
    assert len(logs) == sum(EVERY_JOB.values()) - 1
    assert [path for path in results.rglob(".*") if path.name != ".snakemake_timestamp"] == []
    assert list((results / "checkpoints").rglob("*.safetensors")) == []


def test_every_file_lies_where_the_paths_say(finished):
    for run in (DENSE, TICKET):
        for name in ("initial_weights", "trained_weights", "curve", "training_facts", "attack", "shift"):
            assert (finished.root / getattr(paths, name)(run)).is_file()
    assert (finished.root / paths.ticket_facts(TICKET)).is_file()
    assert (finished.root / paths.profile(DENSE)).is_file()


def test_a_second_run_does_nothing(finished):
    ran = finished.snakemake()
    assert ran.returncode == 0
    assert "Nothing to be done" in ran.stdout + ran.stderr


# what a change runs again


def changed(**parts):
    return TINY | {key: TINY.get(key, {}) | value for key, value in parts.items()}


def test_a_new_seed_runs_its_own_jobs_only(copied):
    copied.write(TINY | {"studies": [TINY["studies"][0] | {"seeds": [0, 1]}]})
    ran = copied.snakemake("--dry-run")
    assert job_table(ran) == PER_SEED
    trained = re.findall(r"output: (\S+weights\.safetensors)", ran.stdout + ran.stderr)
    assert len(trained) == 2
    assert all("/seed=1/" in path for path in trained)


@pytest.mark.slow
def test_a_new_seed_leaves_the_old_files_alone(copied):
    before = {path: path.stat().st_mtime_ns for path in copied.root.glob("results/networks/**/seed=0/**/*.*")}
    copied.write(TINY | {"studies": [TINY["studies"][0] | {"seeds": [0, 1]}]})
    ran = copied.snakemake()
    assert (ran.returncode, job_table(ran)) == (0, PER_SEED), ran.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(read_table(copied.root / "results" / "tables" / "runs.parquet")) == 4
    assert "Nothing to be done" in copied.snakemake().stderr


TAIL = {"aggregate": 1, "tabulate": 1, "report": 1, "all": 1}
# the dense network does not depend on a criterion
FROM_SCORES = {"score": 1, "prune": 1, "train_ticket": 1, "attack": 1, "shift": 1, "compare": 1, "profile": 1} | TAIL
FROM_TRAINING = {"train_dense": 1, "train_ticket": 1, "attack": 2, "shift": 2, "compare": 1} | TAIL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (changed(report={"title": "another"}), {"report": 1, "all": 1}),
        (changed(energy={"country": "FRA"}), TAIL),
        (changed(statistics={"xi": [1.0]}), TAIL),
        (changed(attack={"pgd_steps": 3}), {"attack": 2} | TAIL),
        (changed(shift={"calibration_bins": 10}), {"shift": 2} | TAIL),
        (changed(corruptions={"severities": [4]}), {"corrupt": 1, "shift": 2} | TAIL),
        (changed(profile={"rounds": 2}), {"profile": 1} | TAIL),
        (changed(compare={"images": 20}), {"compare": 1} | TAIL),
        (changed(margins={"memory": 1.0}), {"tabulate": 1, "report": 1, "all": 1}),
        (changed(training={"learning_rate": 0.2}), FROM_TRAINING),
        (changed(training={"batch_size": 20}), FROM_TRAINING | {"profile": 1}),
        (changed(training={"momentum": 0.9}), {}),
        (changed(resources={"warm_worker": False}), {}),
        (changed(criteria={"l1": {"images_per_class": 2}}), FROM_SCORES),
    ],
    ids=lambda value: "" if "studies" in value else " ".join(value) or "nothing",
)
def test_a_change_runs_again_what_it_affects(finished, config, expected, tmp_path):
    project = finished.copy(tmp_path)
    project.write(config)
    assert project.jobs() == expected


WIDER = {
    "name": "wider",
    "datasets": ["digits"],
    "networks": ["tiny"],
    "seeds": [0],
    "criteria": ["l1"],
    "scored_at": ["trained"],
    "densities": [1],
}


def test_a_rewind_asked_for_later_leaves_the_dense_network_alone(copied):
    longer = TINY | {"training": TINY["training"] | {"epochs": 2}}
    copied.write(longer)
    assert copied.snakemake(f"{DENSE}/weights.safetensors").returncode == 0
    copied.write(longer | {"studies": [*TINY["studies"], WIDER | {"rewinds": [1]}]})
    target = DENSE + "/structure=layers/criterion=l1/draw=0/scored_at=trained/density=1/rewind=1/curve.parquet"
    ran = copied.snakemake(target)
    assert ran.returncode == 0, ran.stderr
    assert job_table(ran) == {"score": 1, "rewind": 1, "prune": 1, "train_ticket": 1}
    assert read_table(copied.root / target)["epoch"].to_pylist() == [2]


@pytest.mark.slow
def test_every_structure_and_start_runs_to_the_report(copied):
    wider = [
        WIDER | {"name": "rewinding", "rewinds": [0, "random"], "criteria": ["kl"], "fills": ["table1"]},
        WIDER
        | {
            "name": "structures",
            "scored_at": ["init"],
            "structures": ["layers", "filters", "weights"],
            "criteria": ["snip"],
            "fills": ["table3"],
        },
        WIDER | {"name": "draws", "scored_at": ["init"], "criteria": ["random"], "draws": 2, "fills": ["table2"]},
        WIDER | {"name": "figure3", "densities": [], "fills": ["figure3"]},
    ]
    # the tiny set has six images of its rarest class
    few = TINY["criteria"] | {name: {"images_per_class": 2} for name in ("kl", "snip")}
    copied.write(TINY | {"criteria": few, "studies": [*TINY["studies"], *wider]})
    ran = copied.snakemake()
    assert ran.returncode == 0, ran.stderr
    tables = copied.root / "results" / "tables"
    runs = read_table(tables / "runs.parquet").to_pylist()
    assert len(runs) == 2 + 2 + 3 + 2
    filters = next(row for row in runs if row["structure"] == "filters")
    weights = next(row for row in runs if row["structure"] == "weights")
    layers = next(row for row in runs if row["structure"] == "layers" and row["criterion"] == "snip")
    assert filters["filters"] == filters["budget"] == layers["filters"]
    assert weights["params"] == weights["budget"] == layers["params"]
    for name in paths.PAPER:
        assert {path.suffix for path in tables.glob(f"{name}.*")} == {".parquet", ".md", ".tex"}
    assert "Nothing to be done" in copied.snakemake().stderr


@pytest.mark.slow
def test_a_deleted_result_is_made_again_when_asked_for(copied):
    (copied.root / TICKET / "attack.parquet").unlink()
    assert copied.jobs(f"{TICKET}/attack.parquet") == {"attack": 1}


# where the configuration comes from


def test_without_a_configfile_config_yaml_counts(fresh):
    jobs = fresh.jobs(config=())
    study = yaml.safe_load((ROOT / "config.yaml").read_text())["studies"][0]
    dense = len(study["seeds"])
    tickets = 39
    assert (jobs["train_dense"], jobs["train_ticket"], jobs["attack"]) == (dense, tickets, dense + tickets)


def test_a_preset_inherits_nothing_and_files_after_it_are_laid_over_it(fresh):
    # config.yaml sets a schedule, a crop and more: none of it may leak into the preset
    fresh.write({"training": {"epochs": 2}}, "more.yaml")
    ran = fresh.snakemake(
        "--dry-run", "--printshellcmds", "--config", "results=else", config=("tiny.yaml", "more.yaml")
    )
    assert job_table(ran) == EVERY_JOB
    text = ran.stdout + ran.stderr
    assert text.count("""layerlottery train --settings '{"batch_size":30,"epochs":2}'""") == 2
    assert "--output else/networks/dataset=digits/network=tiny/seed=0 " in text


def test_single_values_from_the_command_line(fresh):
    # Snakemake hands over every nested value of --config as text
    values = ("training={epochs: 2, weight_decay: 1e-3}", "datasets={digits: {train_size: 50}}")
    ran = fresh.snakemake("--dry-run", "--printshellcmds", "--config", *values)
    text = ran.stdout + ran.stderr
    assert text.count("""layerlottery train --settings '{"batch_size":30,"epochs":2,"weight_decay":0.001}'""") == 2
    assert '"train_size":50}' in text
    ran = fresh.snakemake("--dry-run", "--config", "training={epochs: two}")
    assert one_line(ran) == 'layerlottery: configuration: training.epochs: found "two"; input should be a valid integer'


# mistakes


def test_a_bad_configuration_is_one_line_and_deletes_nothing(finished):
    before = sorted(str(path) for path in finished.root.glob("results/**/*"))
    study = TINY["studies"][0] | {"criteria": ["magic"]}
    finished.write(TINY | {"studies": [study]}, "bad.yaml")
    line = one_line(finished.snakemake(config=("bad.yaml",)))
    expected = "found 'magic'; allowed: cka, cka_iterative, complexity_macs, complexity_memory"
    assert line.startswith(f"layerlottery: configuration: studies.tiny.criteria: {expected}")
    assert sorted(str(path) for path in finished.root.glob("results/**/*")) == before


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
