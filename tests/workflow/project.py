"""A clone of the workflow with a tiny benchmark in it, and what Snakemake says about it."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml
from tests.workflow.forks import forks

from layerlottery.config.recipes import Recipes

ROOT = Path(__file__).parents[2]
STYLE = "SNAKEMAKE_LOGGER_LAYERLOTTERY_STYLE"
FIRST = {
    "name": "tiny",
    "datasets": ["digits"],
    "networks": ["tiny"],
    "seeds": [0],
    "criteria": ["l1"],
    "removed": [1],
}
TINY = {
    "datasets": {"digits": {"source": "digits", "train_size": 60, "test_size": 30}},
    "networks": {"tiny": {"depth": 20, "width": 2}},
    # the tiny set has six images of its rarest class
    "criteria": {"l1": {"images_per_class": 1}} | {name: {"images_per_class": 2} for name in ("kl", "snip")},
    "studies": [FIRST],
    "training": {"epochs": 2, "batch_size": 30},
    "attack": {"attacks": ["pgd"], "epsilons": [8.0], "pgd_steps": 2, "images": 20},
    "corruptions": {"names": ["contrast"], "severities": [3], "images": 20},
    "outliers": {"images": 20},
    "profile": {"rounds": 1, "min_seconds": 0.001},
    "report": {"title": "a tiny benchmark"},
}
NETWORK = "results/networks/dataset=digits/network=tiny/seed=0"
LEVEL = Recipes.model_validate({"training": TINY["training"]}).level("tiny")
DENSE = f"{NETWORK}/recipe={LEVEL}"
TICKET = f"{DENSE}/structure=layers/criterion=l1/draw=0/scored_at=init/removed=1/rewind=0"

# a second seed, and a second study that shares a ticket with the first
GROWN = TINY | {
    "studies": [
        FIRST | {"seeds": [0, 1]},
        FIRST | {"name": "second", "criteria": ["l1", "random"], "removed": [1, 2]},
    ]
}
EVERY_JOB = {
    "prepare": 1,
    "corrupt": 1,
    "outliers": 1,
    "initialize": 1,
    "score": 1,
    "prune": 1,
    "train_dense": 1,
    "train_ticket": 1,
    "attack": 1,
    "attack_ticket": 1,
    "shift": 2,
    "compare": 1,
    "profile": 1,
    "aggregate": 1,
    "tabulate": 1,
    "report": 1,
    "manifest": 1,
    "all": 1,
}
PER_DATASET = {"prepare": 1, "corrupt": 1, "outliers": 1}
PER_SEED = {name: count for name, count in EVERY_JOB.items() if name not in PER_DATASET}


class Job(NamedTuple):
    """One job that a dry run announces."""

    rule: str
    outputs: list[str]
    logs: list[str]


class Project:
    """A folder with the workflow in it, as a user has cloned it.

    While `forked` is set, commands that need no process of their own are forks of one (forks.py).
    """

    forked = False

    def __init__(self, root):
        self.root = root
        self.results = root / "results"

    def write(self, config, name="tiny.yaml"):
        (self.root / name).write_text(yaml.safe_dump(config, sort_keys=False))

    def call(self, *command, **options):
        """Run a command in this folder: `snakemake` and `layerlottery` are those of this installation."""
        scripts = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        # Snakemake's own output names every job with its files; test_terminal.py asks for ours
        changed = options.pop("environment", {})
        environment |= {STYLE: "snakemake"} | changed
        options = {"timeout": 600} | options
        if self.forked and command[0] in ("snakemake", "layerlottery") and "PYTHONPATH" not in changed:
            return forks().run(command, self.root, environment, **options)
        if command[0] == "snakemake":
            command = (sys.executable, "-m", *command)
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, **options)

    def snakemake(self, *words, config=("tiny.yaml",), **options):
        """Run Snakemake; `config` are the files given with --configfile."""
        files = ["--configfile", *config] if config else []
        return self.call("snakemake", "--cores", "1", *words, *files, **options)

    def jobs(self, *words, **options):
        """The jobs that a dry run announces: rule -> number."""
        ran = self.snakemake("--dry-run", *words, **options)
        assert ran.returncode == 0, ran.stderr
        return job_table(ran)

    def dry_runs(self, runs):
        """What dry runs announce, many from one process: name -> jobs, from name -> words of the command line."""
        script = Path(__file__).with_name("dry_runs.py")
        ran = self.call(sys.executable, str(script), input=json.dumps(runs))
        assert ran.returncode == 0, ran.stderr
        texts = json.loads(ran.stdout)
        assert set(texts) == set(runs)
        return {name: announced(text) for name, text in texts.items()}

    def copy(self, folder):
        """A copy to change, with the tiny configuration."""
        shutil.copytree(self.root, folder, dirs_exist_ok=True, symlinks=True)
        return _tiny(folder)


def job_table(ran):
    text = ran.stdout + ran.stderr
    table = text.partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def announced(text):
    """The jobs of a dry run with their outputs and logs."""
    assert "Job stats:" in text or "Nothing to be done" in text, text
    blocks = re.split(r"\n(?=(?:local)?rule )", text)[1:]
    rules = [block.partition(":")[0].split()[-1] for block in blocks]
    return [Job(rule, _files(block, "output"), _files(block, "log")) for rule, block in zip(rules, blocks, strict=True)]


def _files(block, kind):
    found = re.search(rf"^    {kind}: (\S.*?)(?: \(check log.*)?$", block, re.MULTILINE)
    return found[1].split(", ") if found else []


def counted(jobs):
    return dict(Counter(job.rule for job in jobs))


def clone(folder):
    for name in ("workflow", "envs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    # Snakemake's place for the profile that a plain call uses
    (folder / "profiles").symlink_to("workflow/profiles")
    return _tiny(folder)


def _tiny(folder):
    project = Project(folder)
    project.write(TINY)
    return project


def edited(config, edit):
    """A copy of a configuration after `edit`, a function that changes it."""
    changed = copy.deepcopy(config)
    edit(changed)
    return changed


def snapshot(folder):
    """The bytes of every file below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
