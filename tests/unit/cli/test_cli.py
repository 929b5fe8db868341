"""The command line: a whole chain of stages once, and what a user reads after a mistake."""

import contextlib
import io
import json
import re
import shutil
import sys
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from pydantic import TypeAdapter

from layerlottery.cli import settings
from layerlottery.cli.main import main
from layerlottery.config.choices import GPUS
from layerlottery.config.data import Dataset
from layerlottery.config.evaluation import (
    AttackSettings,
)
from layerlottery.config.training import TrainingSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts, read_table, read_tensors
from layerlottery.store.hashing import digest


class Answer(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def line(self):
        """The one line that a failure may print."""
        assert self.status == 1
        assert re.fullmatch(r"layerlottery: [^\n]+\n", self.err), self.err
        return self.err.removeprefix("layerlottery: ").rstrip("\n")


def call(*words):
    """The command line in this process, as the console script runs it."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["layerlottery", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            status = 0
        except SystemExit as done:
            status = done.code or 0
    return Answer(status, out.getvalue(), err.getvalue())


class Chain:
    """The files of one dense network and its ticket."""

    def __init__(self, root):
        self.root = root
        self.data, self.initial = root / "data" / "facts.json", root / "initial.safetensors"
        self.images, self.corrupted = root / "corrupted.npy", root / "corrupted.json"
        self.outliers = {"outlier-images": root / "outliers.npy", "outlier-facts": root / "outliers.json"}
        self.scores, self.start, self.ticket = root / "scores.json", root / "start.safetensors", root / "ticket.json"
        self.trained = root / "trained" / "weights.safetensors"

    def run(self):
        small = '{"source": "digits", "shifted": [], "test_size": 30, "train_size": 50}'
        seen = ["--data", self.data]
        yield "prepare", "--settings", small, "--train-size", 100, "--output", self.data.parent
        strangers, about = self.outliers.values()
        yield "outliers", *seen, "--images", 20, "--output-images", strangers, "--output-facts", about
        yield "corrupt", *seen, "--names", "contrast", "--severities", 3, "--images", 20, *self.corrupt_outputs()
        yield "initialize", *seen, "--depth", 20, "--width", 4, "--output", self.initial
        yield "score", *seen, "--function", "snip", "--weights", self.initial, "--output", self.scores
        yield "prune", *self.prune_inputs(), "--output", self.start, "--output-facts", self.ticket
        yield "train", *seen, *self.train_inputs(), "--output", self.trained.parent
        yield "shift", *seen, *self.shift_inputs(), "--output", self.root / "shift.parquet"
        yield "attack", *seen, *self.attack_inputs(), "--output", self.root / "attack.parquet"
        yield "profile", *seen, *self.profile_inputs(), "--output", self.root / "profile.json"

    def corrupt_outputs(self):
        return "--output-images", self.images, "--output-facts", self.corrupted

    def prune_inputs(self):
        return "--weights", self.initial, "--scores", self.scores, "--removed", 2

    def train_inputs(self):
        return "--weights", self.start, "--epochs", 1, "--batch-size", 50

    def shift_inputs(self):
        made = {"corrupted-images": self.images, "corrupted-facts": self.corrupted} | self.outliers
        given = [word for name, path in made.items() for word in (f"--{name}", path)]
        return "--weights", self.trained, *given, "--output-detection", self.root / "detection.parquet"

    def attack_inputs(self):
        return "--weights", self.trained, "--attacks", "pgd", "--epsilons", 8, "--pgd-steps", 2, "--images", 10

    def profile_inputs(self):
        return "--weights", self.initial, "--ticket", self.ticket, "--rounds", 1, "--min-seconds", 0.001


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    made = Chain(tmp_path_factory.mktemp("chain"))
    for words in made.run():
        answer = call(*words, "--log", made.root / "logs" / f"{words[0]}.log")
        # torch itself may warn on stderr about a GPU that it misses
        assert (answer.status, answer.out, "layerlottery" in answer.err) == (0, "", False), answer.err
    return made


# the whole chain


def test_the_chain_leaves_its_results(chain):
    removed_blocks = read_facts(chain.ticket)["removed_blocks"]
    assert len(removed_blocks) == 2
    assert read_tensors(chain.trained)[1]["architecture"]["removed_blocks"] == removed_blocks
    assert read_tensors(chain.initial)[1]["architecture"]["network"]["width"] == 4
    assert read_facts(chain.trained.parent / "training.json")["epochs"] == 1
    kinds = [(row["kind"], row["images"]) for row in read_table(chain.root / "shift.parquet").to_pylist()]
    assert kinds == [("clean", 30), ("clean", 20), ("corruption", 20)]
    counts = {(row["in_images"], row["out_images"]) for row in read_table(chain.root / "detection.parquet").to_pylist()}
    assert counts == {(30, 20)}
    levels = {row["level"] for row in read_table(chain.root / "attack.parquet").to_pylist()}
    assert 8.0 in levels
    profile = read_facts(chain.root / "profile.json")
    architectures = profile["architectures"]
    ticket = digest(read_facts(chain.ticket)["architecture"])
    assert [one["architecture"] for one in architectures] == [profile["dense"], ticket]
    assert architectures[1]["params"] < architectures[0]["params"]


def test_a_network_of_another_family(chain, tmp_path):
    options = (
        "--family",
        "torchvision",
        "--name",
        "mobilenet_v2",
        "--options",
        '{"width_mult": 0.25}',
        "--stem",
        "small",
    )
    answer = call("initialize", "--data", chain.data, *options, "--output", tmp_path / "w.safetensors")
    assert (answer.status, answer.out) == (0, ""), answer.err
    made = read_tensors(tmp_path / "w.safetensors")[1]["architecture"]
    assert (made["network"]["options"], made["image_size"]) == ({"width_mult": 0.25}, 8)
    wrong = call(
        "initialize", "--data", chain.data, "--family", "torchvision", "--name", "mobilenet_v4", "--output", "w"
    )
    assert "torchvision has no network 'mobilenet_v4'; the closest names are mobilenet_v" in wrong.line


def test_options_win_over_settings(chain):
    facts = read_facts(chain.data)
    assert (facts["counts"]["train"], facts["counts"]["test"]) == (100, 30)


def test_the_same_command_gives_the_same_weights(chain, tmp_path):
    assert call("train", "--data", chain.data, *chain.train_inputs(), "--output", tmp_path).status == 0
    assert read_tensors(tmp_path / "weights.safetensors")[1] == read_tensors(chain.trained)[1]


def test_progress_goes_to_the_log(chain):
    assert re.search(r"epoch 1/1 .*loss \d", (chain.root / "logs" / "train.log").read_text())


def test_score_and_prune_say_what_they_did(chain, tmp_path):
    scores, removed_blocks = read_facts(chain.scores), read_facts(chain.ticket)["removed_blocks"]
    lowest = min((row for row in scores["blocks"] if row["removable"]), key=lambda row: row["score"])["name"]
    assert re.search(rf"snip: of 6 scores the lowest, which go first: {lowest} \(", log_of(chain, "score"))
    removed = f"removed {', '.join(removed_blocks)}; "
    assert re.search(rf"{re.escape(removed)}\d+ % fewer parameters\n$", log_of(chain, "prune"))
    # without a log the terminal hears it, and the MACs that the profile counts in a benchmark
    outputs = "--output", tmp_path / "start", "--output-facts", tmp_path / "facts"
    told = call("prune", *chain.prune_inputs(), *outputs).err
    rows = read_facts(chain.root / "profile.json")["architectures"]
    saved = 100 * (1 - rows[1]["macs"] / rows[0]["macs"])
    assert removed in told
    assert f" {saved:.0f} % fewer MACs\n" in told


def log_of(chain, stage):
    return (chain.root / "logs" / f"{stage}.log").read_text()


def test_nothing_else_lies_in_the_folders(chain):
    assert list(chain.root.rglob(".*")) == []


# mistakes


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--epochs", "0"], "settings: epochs: found 0; input should be greater than or equal to 1"),
        (["--epochs", "many"], 'settings: epochs: found "many"; input should be a valid integer'),
        (["--schedule", "linear"], "found \"linear\"; input should be 'step', 'cosine', 'onecycle' or 'warmup_cosine'"),
        (["--settings", '{"epoch": 1}'], "settings: unknown key 'epoch'; allowed: epochs"),
        (["--settings", "{epochs"], "--settings: not JSON"),
        (["--settings", "[1]"], "allowed: a JSON object"),
        (["--settings", "[1]", "--epochs", "2"], "allowed: a JSON object"),
        (["--settings", "null", "--epochs", "2"], "allowed: a JSON object"),
        (["--device", "tpu9"], "--device: found 'tpu9'; allowed: auto, cpu, cuda, cuda:N"),
        (["--device", "mps"], "--device: found 'mps'; allowed: auto, cpu, cuda"),
        (["--device", "meta"], "--device: found 'meta'; allowed: auto, cpu, cuda"),
        (["--gpus", "0"], "--gpus: found 0; allowed: 1 to 64"),
        (["--gpus", "65"], "--gpus: found 65; allowed: 1 to 64"),
        (["--gpus", "two"], "--gpus: found two; allowed: 1 to 64"),
    ],
)
def test_bad_values_are_one_line(chain, tmp_path, words, expected):
    log = tmp_path / "logs" / "train.log"
    inputs = ["--weights", chain.initial, "--data", chain.data, "--output", tmp_path / "out", "--log", log]
    answer = call("train", *inputs, *words)
    assert expected in answer.line
    assert log.read_text().endswith(f" {answer.line}\n")
    assert not (tmp_path / "out").exists()


def test_the_device_may_come_from_the_environment(chain, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOTTERY_DEVICE", "nowhere")
    answer = call("score", "--function", "l1", *both(chain), "--output", tmp_path / "s.json")
    assert "found 'nowhere'" in answer.line


def test_the_number_of_gpus_may_come_from_the_environment(chain, tmp_path, monkeypatch):
    monkeypatch.setenv(GPUS, "0")
    assert call("train", *both(chain), "--output", tmp_path).line == f"{GPUS}: found 0; allowed: 1 to 64"


def test_a_missing_gpu_is_named(chain, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    words = ["--function", "l1", "--device", "cuda:0", *both(chain), "--output", tmp_path / "s.json"]
    assert "torch sees no GPU here" in call("score", *words).line


@pytest.mark.parametrize("words", [["--threads", "0"], ["--seed", "-1"], ["--nonsense"], ["--output"]])
def test_what_click_refuses_ends_with_2_and_no_traceback(words):
    answer = call("train", *words)
    assert answer.status == 2
    assert "Error: " in answer.err
    assert "Traceback" not in answer.err


def both(chain, **changes):
    given = {"weights": chain.initial, "data": chain.data} | changes
    return [word for name, value in given.items() for word in (f"--{name}", value)]


@pytest.mark.parametrize("name", ["weights", "data"])
def test_a_missing_input_is_named(chain, tmp_path, name):
    inputs = both(chain, **{name: tmp_path / "gone"})
    answer = call("score", "--function", "l1", *inputs, "--output", tmp_path / "s.json")
    assert answer.line == f"{tmp_path / 'gone'}: no such file"


@pytest.mark.parametrize("name", ["weights", "data"])
def test_an_input_that_is_something_else_is_named(chain, tmp_path, name):
    (tmp_path / "odd").write_text("not what it should be")
    inputs = both(chain, **{name: tmp_path / "odd"})
    answer = call("score", "--function", "l1", *inputs, "--output", tmp_path / "s.json")
    assert answer.line.startswith(f"{tmp_path / 'odd'}: not a ")
    assert not (tmp_path / "s.json").exists()


def test_facts_of_something_else_are_no_image_set(chain, tmp_path):
    answer = call("score", "--function", "l1", *both(chain, data=chain.ticket), "--output", tmp_path / "s.json")
    assert "not the facts of a prepared set" in answer.line


def test_a_checkpoint_is_no_weights_file(chain, tmp_path):
    from layerlottery.store.artifacts import write_tensors

    write_tensors(tmp_path / "c", {"model.stem": np.zeros(1)}, {"epoch": 1}, config_hash="x")
    answer = call("train", *both(chain, weights=tmp_path / "c"), "--output", tmp_path / "out")
    assert answer.line == f"{tmp_path / 'c'}: holds no network; a checkpoint is no weights file"


def test_a_tampered_weights_file_is_named(chain, tmp_path):
    changed = bytearray(chain.trained.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "w").write_bytes(changed)
    words = ["--weights", tmp_path / "w", "--data", chain.data, "--output", tmp_path / "a.parquet"]
    assert call("attack", *words).line.startswith(f"{tmp_path / 'w'}: its content does not match its hash")


def test_a_tampered_image_array_is_named(chain, tmp_path):
    shutil.copytree(chain.data.parent, tmp_path / "data")
    path = tmp_path / "data" / "train_images.npy"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    words = both(chain, data=tmp_path / "data" / "facts.json")
    answer = call("score", "--function", "snip", *words, "--output", tmp_path / "s.json")
    assert answer.line.startswith(f"{path}: its content does not match its hash")


def test_too_many_images_per_class_name_the_most(chain, tmp_path):
    words = ["--function", "snip", "--images-per-class", 11, *both(chain), "--output", tmp_path / "s.json"]
    assert call("score", *words).line == "images_per_class: found 11; this training set gives at most 10"


def test_too_many_removed_names_the_most(chain, tmp_path):
    words = ["--weights", chain.initial, "--scores", chain.scores, "--removed", 4]
    answer = call("prune", *words, "--output", tmp_path / "w", "--output-facts", tmp_path / "t")
    assert answer.line.endswith("this network gives 0 to 3")


def test_a_folder_that_cannot_be_written_is_named(chain, tmp_path):
    (tmp_path / "file").write_text("in the way")
    answer = call("score", "--function", "l1", *both(chain), "--output", tmp_path / "file" / "s.json")
    assert str(tmp_path / "file") in answer.line


def test_an_interrupted_command_ends_with_75(monkeypatch, chain, tmp_path):
    from layerlottery.errors import Suspended

    monkeypatch.setattr("layerlottery.training.train.train", mock.Mock(side_effect=Suspended("it goes on from there")))
    answer = call("train", *both(chain), "--output", tmp_path)
    assert (answer.status, answer.err.count("\n")) == (75, 1)
    assert "interrupted: it goes on from there" in answer.err


# options as such


def test_gather_reads_numbers_words_and_lists():
    given = {"epochs": "3", "schedule": "cosine", "milestones": ("1", "2"), "nesterov": "false", "crop": None}
    found = settings.gather(TrainingSettings, json.dumps({"epochs": 9, "crop": 2}), given)
    assert (found.epochs, found.schedule, found.milestones) == (3, "cosine", [1, 2])
    assert (found.nesterov, found.crop) == (False, 2)


def test_gather_takes_scientific_numbers_and_null():
    found = settings.gather(AttackSettings, "{}", {"images": "null", "relative_step": "1e-1"})
    assert (found.images, found.relative_step) == (None, 0.1)


def test_gather_refuses_what_another_source_knows():
    with pytest.raises(LayerLotteryError, match="unknown key 'image_size'"):
        settings.gather(TypeAdapter(Dataset), '{"source": "digits"}', {"image_size": "8"})


def test_gather_leaves_text_that_looks_like_a_number_alone():
    found = settings.gather(TypeAdapter(Dataset), '{"source": "folder"}', {"location": "2024"})
    assert found.location == "2024"
    shifted = settings.gather(
        TypeAdapter(Dataset), '{"source": "parquet", "location": "x"}', {"shifted": '{"new": "7"}'}
    )
    assert shifted.shifted == {"new": "7"}
