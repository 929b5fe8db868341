"""No file that a command reads can run code or end in a traceback: each kind is replaced by hostile ones."""

import contextlib
import io
import json
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from tests.unit import hostile
from tests.unit.hostile import call, marker, problems, refusal, replaced
from tests.unit.test_escaping import steers
from tests.workflow.project import FIRST, TINY, clone

from layerlottery.store.artifacts import read_table, read_tensors

__all__ = ["marker"]

DATA = "results/datasets/dataset=digits"
SMALL = {
    "training": {"epochs": 2, "batch_size": 30},
    "studies": [FIRST | {"rewinds": [1]}, FIRST | {"name": "weights", "structures": ["weights"]}],
}

# a process that ends when anything unpickles
GUARD = """
import _pickle, json, pickle, sys

def refuse(*_, **__):
    raise SystemExit("a pickle was loaded")

class Refuse(pickle._Unpickler):
    __init__ = load = refuse

sys.addaudithook(lambda event, _: refuse() if event == "pickle.find_class" else None)
pickle.load, pickle.loads, pickle.Unpickler, pickle._Unpickler = refuse, refuse, Refuse, Refuse
"""
EVERY_COMMAND = """
import torch
torch.load = torch.jit.load = refuse
from layerlottery.cli.main import main
for words in json.load(sys.stdin):
    sys.argv = words
    main()
print("done")
"""


class Made:
    """The files of a whole tiny benchmark, its commands and what each reads."""

    def __init__(self, root):
        self.project = clone(root)
        self.project.write(TINY | SMALL)
        dry = self.project.snakemake("--dry-run", "--printshellcmds")
        assert dry.returncode == 0, dry.stderr
        blocks = re.split(r"\n\n", dry.stdout)
        self.jobs = [self._job(block) for block in blocks if re.search("Shell command: (exec )?layerlottery ", block)]
        commands = json.dumps([words for words, _ in self.jobs])
        self.ran = self.project.call(sys.executable, "-c", GUARD + EVERY_COMMAND, input=commands)

    @staticmethod
    def _job(block):
        read = re.search(r"^    input: (.+)$", block, re.MULTILINE)
        words = shlex.split(re.search(r"^Shell command: (?:exec )?(.+)$", block, re.MULTILINE)[1])
        return words, read[1].split(", ") if read else []

    def command(self, name, contains=""):
        """The first command of a stage that has this text in its words."""
        return next(words for words, _ in self.jobs if words[1] == name and contains in " ".join(words))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture
def inside(made, monkeypatch):
    """The benchmark as the current folder; what a test changes is put back."""
    assert made.ran.returncode == 0, made.ran.stderr
    monkeypatch.chdir(made.project.root)
    return made


def test_the_pickles_here_would_run_code_where_they_are_loaded(marker):
    for name, content in hostile.pickles(marker).items():
        with contextlib.suppress(Exception):
            if name == "torch.save":
                torch.load(io.BytesIO(content), weights_only=False)
            elif name == "object npy":
                np.load(io.BytesIO(content), allow_pickle=True)
            else:
                pickle.loads(content)  # noqa: S301
        assert marker.exists(), name
        marker.unlink()


# a whole benchmark


def test_a_whole_benchmark_loads_no_pickle(made):
    assert (made.ran.returncode, made.ran.stdout.splitlines()[-1:]) == (0, ["done"]), made.ran.stderr
    assert {words[1] for words, _ in made.jobs} >= {
        "prepare",
        "train",
        "rewind",
        "prune",
        "attack",
        "aggregate",
        "report",
    }


@pytest.mark.parametrize("loads", ["pickle.loads", "_pickle.loads", "pickle._loads"])
def test_the_guard_of_the_benchmark_sees_a_pickle(marker, loads):
    content = hostile.pickles(marker)["old pickle"].decode()
    ran = subprocess.run(
        [sys.executable, "-c", f"{GUARD}\n{loads}(sys.argv[1].encode())", content], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr.strip()) == (1, "a pickle was loaded")
    assert not marker.exists()


def is_parsed(words, path, unsealed):
    """Whether a command does more with one of its rule's inputs than to wait for it or to take its hash."""
    with replaced(path, unsealed):
        if refusal(words, path) is None:
            return False
    away = Path(f"{path}.away")
    Path(path).rename(away)
    try:
        return call(words)[0] != 0
    finally:
        away.rename(path)


def test_no_command_unpickles_any_of_its_inputs(inside, marker):
    pickled = hostile.pickles(marker)["pickle"]
    found, tried = [], set()
    for words, inputs in inside.jobs:
        for path in inputs:
            if (words[1], Path(path).name) in tried:
                continue
            tried.add((words[1], Path(path).name))
            answers = problems(words, path, {"sealed pickle": pickled + hostile.SEAL}, marker)
            accepted = answers and all("exit 0" in answer for _, answer in answers)
            found += [] if accepted and not is_parsed(words, path, pickled) else answers
    assert found == []
    assert len(tried) > 40


# one kind of file after another


def test_hostile_weights(inside, marker):
    for words in (inside.command("attack"), inside.command("prune", "structure weights")):
        path = words[words.index("--weights") + 1]
        assert problems(words, path, hostile.safetensors(marker), marker) == []


def test_hostile_scores_of_weights(inside, marker):
    words = inside.command("prune", "structure weights")
    path = words[words.index("--scores") + 1]
    assert path.endswith(".safetensors")
    assert problems(words, path, hostile.safetensors(marker), marker) == []


@pytest.mark.parametrize("kind", ["checkpoint", "kept"])
def test_a_hostile_checkpoint_is_passed_over(inside, marker, kind):
    words = inside.command("rewind" if kind == "kept" else "train")
    path = Path(words[words.index(f"--{kind}") + 1])
    path = path if kind == "checkpoint" else next(path.parent.parent.rglob("kept/*"))
    output = Path(words[words.index("--output") + 1])
    output = output / "weights.safetensors" if output.is_dir() else output
    before = read_tensors(output)[1]["content"]
    payloads = hostile.safetensors(marker)
    for name in ("pickle", "torch.save", "claimed shape", "facts 0"):
        with replaced(path, payloads[name]):
            status, err = call(words)
        assert status == 0, (name, err)
        assert re.search(rf"(checkpoint|kept weights) not used: {path}: ", err), (name, err)
        assert not marker.exists(), name
        assert read_tensors(output)[1]["content"] == before


def test_hostile_facts(inside, marker):
    for name, option in (("attack", "--data"), ("prune", "--scores"), ("profile", "--ticket")):
        words = inside.command(name)
        assert problems(words, words[words.index(option) + 1], hostile.documents(marker), marker) == []


def test_hostile_arrays_whose_hash_is_right(inside, marker):
    words, facts = inside.command("attack"), Path(DATA, "facts.json")
    for name, content in hostile.arrays(marker).items():
        path = f"{DATA}/test_images.npy"
        with replaced(path, content) as found:
            held = json.loads(facts.read_text())
            held["facts"]["arrays"]["test_images.npy"] = found
            held["artifact"]["seal"] = hostile.SEAL.decode()
            with replaced(facts, json.dumps(held).encode()):
                assert refusal(words, path) is None, name
        assert not marker.exists(), name


def test_hostile_tables(inside, marker):
    words = inside.command("aggregate")
    path = next(path for path in Path("results").rglob("curve.parquet"))
    table = pa.Table.from_pylist(read_table(path).to_pylist() * 777)
    found = problems(words, str(path), hostile.tables(marker, table), marker)
    # a type that Python does not know is read as what it is stored as
    assert [name for name, _ in found if name != "python type"] == []
    assert not any(reason == "ran code" for _, reason in found)


# configurations


@pytest.mark.parametrize("tag", ["object/apply:os.system", "object/new:os.system", "object:os.system"])
def test_a_tag_in_a_configuration_runs_nothing(tmp_path, marker, tag):
    (tmp_path / "config.yaml").write_text(f"results: !!python/{tag} ['touch {marker}']\n")
    with pytest.raises(WorkflowError):
        load_configfile(tmp_path / "config.yaml")
    assert not marker.exists()


@pytest.mark.parametrize(
    "settings",
    ["[" * 100_000, "9" * 10_000, '{"depth": ' + "9" * 10_000 + "}", '{"depth": 1e999}'],
    ids=["deep", "digits", "large", "infinite"],
)
def test_settings_that_exhaust_their_parser_are_one_line(inside, settings):
    words = ["layerlottery", "initialize", "--settings", settings, "--data", f"{DATA}/facts.json", "--output", "gone"]
    status, err = call(words)
    assert (status, err.count("\n"), "Traceback" in err) == (1, 1, False), err[-500:]


@pytest.mark.parametrize("words", [["show", "a", "{}"], ["verify", "--results", "{}"], ["{}"], ["diff", "{}", "x"]])
def test_names_of_files_steer_no_terminal(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    name = "r\x1b[2J\x1b]0;t\x07\r\u202egnp"
    Path(name, "tables").mkdir(parents=True)
    (Path(name, "tables") / "runs.parquet").write_text("x")
    status, said = call(["layerlottery", *(word.format(name) for word in words)])
    assert status in (1, 2)
    assert not steers(said)
