"""No file that a command reads can run code or end in a traceback: each kind is replaced by hostile ones."""

import contextlib
import io
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from tests.unit import hostile, official_files
from tests.workflow.project import FIRST, TINY, clone

from layerlottery.cli.main import main
from layerlottery.data.decode import Form, decode
from layerlottery.data.download import Published
from layerlottery.data.published import FILES, OFFICIAL
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_table, read_tensors

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
def marker(tmp_path):
    """What a pickle or a program that ran would leave."""
    return tmp_path / "marker"


@pytest.fixture
def inside(made, monkeypatch):
    """The benchmark as the current folder; what a test changes is put back."""
    assert made.ran.returncode == 0, made.ran.stderr
    monkeypatch.chdir(made.project.root)
    return made


@contextlib.contextmanager
def replaced(path, content):
    """A hostile file in the place of a good one."""
    path = Path(path)
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield hostile.plant(path, content)
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)


def call(words):
    """A command in this process, without its log: its exit status and what it printed on stderr."""
    out, err = io.StringIO(), io.StringIO()
    words = [word for word in words if word != "--log" and not word.endswith(".log")]
    with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            return 0, err.getvalue()
        except SystemExit as done:
            return done.code or 0, err.getvalue()


def refusal(words, path):
    """What is wrong with a command's answer to a hostile file; nothing when it is one line that names it."""
    status, err = call(words)
    # beside progress lines, and torch's warning of a GPU that it misses
    lines = [line for line in err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d |W\d{4} ", line)]
    if status == 1 and len(lines) == 1 and lines[0].startswith(f"layerlottery: {path}"):
        return None
    return f"{words[1]} with {path}: exit {status}: {err[-600:]}"


def problems(words, path, payloads, marker):
    """Answers to hostile files that are not one line, and marks that one of them left."""
    found = []
    for name, content in payloads.items():
        with replaced(path, content):
            found.append((name, refusal(words, path)))
        if marker.exists():
            found.append((name, "ran code"))
            marker.unlink()
    return [one for one in found if one[1]]


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


# image sets


def prepare(location, tmp_path, **settings):
    settings = {"location": str(location)} | settings
    return ["layerlottery", "prepare", "--settings", json.dumps(settings), "--output", str(tmp_path / "out")]


def test_hostile_parquet_sets(tmp_path, marker):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    rows = [{"image": {"bytes": image.getvalue(), "path": None}, "label": i % 2} for i in range(777)]
    words = prepare(tmp_path, tmp_path, source="parquet")
    for name in ("train.parquet", "test.parquet"):
        hostile.pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    payloads = hostile.tables(marker, pa.Table.from_pylist(rows))
    found = problems(words, f"{tmp_path}/train.parquet", payloads, marker)
    assert [name for name, _ in found if name != "python type"] == []
    assert not any(reason == "ran code" for _, reason in found)


@pytest.fixture
def ghostscript(tmp_path, marker, monkeypatch):
    """A program under the name of the one that Pillow hands PostScript to."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {shlex.quote(str(marker))}\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_hostile_images_in_a_folder(tmp_path, marker, ghostscript):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (8, 8), 50).save(tmp_path / part / name / "one.png")
    words = prepare(tmp_path, tmp_path, source="folder")
    assert problems(words, f"{tmp_path}/train/b/one.png", hostile.images(marker), marker) == []


def test_hostile_images_in_parquet(tmp_path, marker, ghostscript):
    words = prepare(tmp_path, tmp_path, source="parquet")
    for name, content in hostile.images(marker).items():
        table = pa.Table.from_pylist([{"image": {"bytes": content, "path": "/etc/passwd"}, "label": 0}])
        for part in ("train", "test"):
            hostile.pq.write_table(table, tmp_path / f"{part}.parquet")
        assert refusal(words, f"{tmp_path}/train.parquet: image in row 0") is None, name
        assert not marker.exists(), name


def test_a_small_file_that_claims_a_large_image_is_not_decoded():
    with pytest.raises(LayerLotteryError, match=r"^one: not a readable image \(DecompressionBombWarning\)$"):
        decode(hostile.png(10_000, 10_000), Form(8, 3), "one")


def test_pickled_cifar_is_never_opened(tmp_path, marker):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(hostile.pickles(marker)["pickle"])
    words = prepare(tmp_path, tmp_path, source="torchvision", set="CIFAR10", download=False)
    assert refusal(words, folder) is None
    shutil.move(folder, tmp_path / "moved")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(tmp_path / "moved", "cifar-10-batches-py")
    assert refusal(words, archive) is None
    assert not marker.exists()


def test_members_of_an_archive_never_reach_the_disk(tmp_path, monkeypatch, marker):
    archive = tmp_path / "set" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as target:
        for name in (str(marker), "../marker", "set/../../marker"):
            target.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        target.addfile(link)
    file = Published("https://localhost/gone", archive.stat().st_size, hostile.seals.file_digest(archive))
    monkeypatch.setitem(FILES, "CIFAR10", {archive.name: file})
    words = prepare(archive.parent, tmp_path, source="torchvision", set="CIFAR10")
    assert refusal(words, archive) is None
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cifar-10-binary.tar.gz", "set"]


@pytest.mark.parametrize("name", ["CIFAR-10.1", "CIFAR-10.2"])
def test_hostile_published_test_sets(tmp_path, marker, monkeypatch, name):
    for part in ("train", "test"):
        for number in range(10):
            (tmp_path / part / str(number)).mkdir(parents=True)
            Image.new("RGB", (8, 8), (number, 50, 90)).save(tmp_path / part / str(number) / "one.png")
    words = prepare(tmp_path, tmp_path, source="folder", official={"sets": [name], "location": str(tmp_path)})
    assert refusal(words, next(iter(OFFICIAL[name])).join([f"{tmp_path}/", ": no such file"])) is None
    for kind, content in hostile.arrays(marker).items():
        official_files.publish(monkeypatch, name, [content] * len(OFFICIAL[name]))
        for file in OFFICIAL[name]:
            (tmp_path / file).write_bytes(content)
        assert refusal(words, tmp_path / next(iter(OFFICIAL[name]))) is None, kind
        assert not marker.exists(), kind


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
