"""`layerlottery stale` on real runs: only what the rules make is asked for, and what goes comes back."""

from tests.workflow.project import FIRST, GROWN, PER_SEED, TINY, announced, edited

from layerlottery.config.loading import load_benchmark
from layerlottery.store import lock
from layerlottery.upkeep.stale import asked_files, find_stale

# every kind of file, of more than one image set
WIDE = TINY | {
    "datasets": TINY["datasets"] | {"more": {"source": "digits"}},
    "studies": [
        FIRST | {"datasets": ["digits", "more"], "rewinds": [0, 1, "random"]},
        FIRST
        | {"name": "structures", "structures": ["layers", "filters", "weights"], "criteria": ["snip"], "draws": 2},
        FIRST | {"name": "budgets", "structures": ["filters", "weights"], "criteria": ["l1"], "seeds": [2], "draws": 2},
        FIRST | {"name": "trained", "scored_at": ["trained"], "criteria": ["kl"]},
        FIRST | {"name": "scores", "removed": [], "criteria": ["random"], "structures": ["layers", "filters"]},
    ],
}


def without_its_own(config):
    """Remove seed 1 and what only the second study asks for."""
    config["studies"] = [FIRST]


def clean(project, *words):
    ran = project.call("layerlottery", "stale", *words)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_what_the_rules_make_is_what_is_asked_for(fresh):
    fresh.write(WIDE)
    ran = fresh.snakemake("--dry-run")
    made = {file for job in announced(ran.stdout + ran.stderr) for file in (*job.outputs, *job.logs)}
    asked = {f"results/{file}" for file in asked_files(load_benchmark(WIDE))}
    assert made - asked == set()
    # the rest is no rule's output: the lock, and what trainings keep for themselves
    unowned = {file for file in asked - made if not file.startswith("results/checkpoints/")}
    assert unowned == {f"results/{lock.NAME}"}


def test_a_finished_run_leaves_nothing_that_is_not_asked_for(grown):
    assert find_stale(grown.results, [load_benchmark(GROWN)]) == ([], 0)


def test_what_no_configuration_asks_for_goes_and_comes_back_when_asked_for(grown, tmp_path):
    project = grown.copy(tmp_path)
    # a page for each network comes and goes with the report
    pages = project.results / "report" / "pages"
    before = {path for path in project.results.rglob("*") if path.is_file() and pages not in path.parents}
    (project.results / "networks" / "notes.txt").write_text("mine")
    project.write(GROWN, "all.yaml")
    project.write(edited(GROWN, without_its_own))
    assert project.snakemake().returncode == 0
    union = ("--configfile", "tiny.yaml", "--configfile", "all.yaml")
    others = "1 more files belong to no stage here (other programs, other benchmarks) and stay"
    assert clean(project, *union) == ["results: 0 files, 0 B, that no configuration asks for", others]
    listed = clean(project, "--configfile", "tiny.yaml")
    assert listed[-1] == "nothing is removed without --remove"
    assert {path for path in project.results.rglob("*") if path.is_file()} > before
    assert clean(project, "--configfile", "tiny.yaml", "--remove") == [*listed[:-1], "removed"]
    left = {path for path in project.results.rglob("*") if path.is_file()}
    gone = {str(path.relative_to(project.results)) for path in before - left}
    assert gone == {name for name in gone if "/seed=1" in name or "criterion=random" in name or "removed=2" in name}
    assert sum(name.endswith("/weights.safetensors") for name in gone) == 5
    assert not [path for path in project.results.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert project.jobs() == {}
    jobs = project.jobs(config=("all.yaml",))
    new = {"train_dense": 1, "attack": 1, "shift": 5, "score": 2}
    new |= dict.fromkeys(("prune", "train_ticket", "attack_ticket", "compare"), 4)
    assert jobs == PER_SEED | new | {"profile": 2}
