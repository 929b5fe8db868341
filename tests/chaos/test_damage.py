"""Damage in every kind of file that a benchmark leaves: noticed, named, never used, and made anew on request.

The kinds are found by walking through the results, so that a new kind is tried by itself.
"""

import os
import random
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tests.chaos.commands import complaint, every_rule
from tests.workflow.project import TICKET, TINY, Project

from layerlottery import paths
from layerlottery.cli.main import cli
from layerlottery.config.training import TrainingSettings
from layerlottery.store.artifacts import read_tensors, write_facts
from layerlottery.training.session import begin
from layerlottery.upkeep.diff import differences
from layerlottery.upkeep.verify import verify

pytestmark = pytest.mark.chaos

SEED = int(os.environ.get("LAYERLOTTERY_CHAOS_SEED", "1"))
MANIFEST = paths.Folders("results").manifest()
# none is an artifact: logs, the lock's file, a stamp of Snakemake's own, views of results
NO_ARTIFACT = re.compile(rf"logs/.*|.*\.lock|.*\.snakemake_timestamp|({'|'.join(paths.VIEWS)}).*")
# what a rule waits for, but its stage does not read
UNTESTED = {f"{split}_{part}.npy" for split in ("train", "shifted", "held_out") for part in ("images", "labels")}
UNREAD = {
    "rewind": {"weights.safetensors"},
    "corrupt": UNTESTED,
    "outliers": UNTESTED,
    "tabulate": {f"{table}.parquet" for table in ("curves", "stability", "detection", "answers", "agreement")},
}


def kind(path):
    """A file's place without the names and numbers in it."""
    return re.sub(r"=[^/]+?(?=/|\.safetensors|\.json|$)", "=*", str(path))


def everything(results):
    """Every artifact below a results folder."""
    files = {path: str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    return sorted(path for path, name in files.items() if not NO_ARTIFACT.fullmatch(name))


def samples(results):
    """One artifact of every kind."""
    return list({kind(path.relative_to(results)): path for path in everything(results)}.values())


@pytest.fixture(scope="module")
def finished(finished):
    """A benchmark that ran to its end, but for a ticket's training whose job was interrupted after an epoch."""
    checkpoint = finished.root / paths.Folders("results").checkpoint(TICKET.removeprefix("results/"))
    session = begin(
        finished.root / paths.initial_weights(TICKET),
        finished.results / "datasets/dataset=digits/facts.json",
        TrainingSettings(**TINY["training"]),
        seed=0,
        device=torch.device("cpu"),
        checkpoint=checkpoint,
    )
    session.trainer.run(session.progress, until=1)
    session.trainer.save(session.progress)
    write_facts(Path(paths.training_journal(str(checkpoint))), {"segments": []}, config_hash=session.fingerprint)
    return finished


@pytest.fixture
def copied(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.root, tmp_path / "copy", ignore=shutil.ignore_patterns("conda", "log"))
    project = Project(tmp_path / "copy")
    shutil.copy(finished.root / "tiny.yaml", project.root)
    project.environment = finished.environment
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture(scope="module")
def jobs(finished):
    return every_rule(finished, MANIFEST, "all")


def flipped(content, dice):
    changed = bytearray(content)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def damages(content, dice):
    """Bits that flip, an end that is missing, nothing at all, a byte too many."""
    yield from (flipped(content, dice) for _ in range(8))
    yield content[: dice.randrange(1, len(content))]
    yield b""
    yield content + b"\0"


def test_every_artifact_is_checked(finished):
    names = [str(path.relative_to(finished.results)) for path in samples(finished.results)]
    assert {name.rpartition(".")[2] for name in names} == {"json", "npy", "safetensors", "parquet", "md", "tex", "html"}
    for ending in ("kept/epoch=1.safetensors", "rewind=0.segments.json", "scores.safetensors", "rewind=0.safetensors"):
        assert any(name.endswith(ending) for name in names), ending
    found = verify(finished.results)
    assert found.good
    assert found.intact == len(everything(finished.results))


def test_verify_names_the_damaged_file_and_no_other(copied):
    dice = random.Random(SEED)
    for path in samples(copied.results):
        content = path.read_bytes()
        for damaged in damages(content, dice):
            path.write_bytes(damaged)
            assert list(verify(copied.results).damaged) == [path], path
        ran = CliRunner().invoke(cli, ["verify", "--results", str(copied.results)])
        assert ran.exit_code == 1
        assert f"{path}: " in ran.output
        path.write_bytes(content)
    assert verify(copied.results).good


def test_a_stage_stops_with_one_line_that_names_its_damaged_input(copied, jobs):
    dice, tried = random.Random(SEED), set()
    for job in jobs.values():
        for name in job.inputs:
            pair = job.rule, name.rpartition("/")[2]
            if pair in tried or pair[1] in UNREAD.get(job.rule, ()):
                continue
            tried.add(pair)
            path = copied.root / name
            content = path.read_bytes()
            path.write_bytes(flipped(content, dice))
            said = complaint(job.words)
            path.write_bytes(content)
            lines = [line for line in said.splitlines() if line.startswith("layerlottery: ")]
            assert [line.split(": ")[1] for line in lines] == [name], (pair, said)
            assert "Traceback" not in said
    assert {rule for rule, _ in tried} == jobs.keys() - {"prepare"}
    assert verify(copied.results).good


def content_of(weights):
    return read_tensors(weights)[1]["content"]


def test_a_training_passes_over_its_damaged_checkpoint_and_journal(copied):
    checkpoint = next(copied.results.glob("checkpoints/**/rewind=0.safetensors"))
    weights = copied.root / paths.trained_weights(TICKET)
    before = content_of(weights)
    for path in (checkpoint, Path(paths.training_journal(str(checkpoint)))):
        path.write_bytes(flipped(path.read_bytes(), random.Random(SEED)))
    job = every_rule(copied, str(weights.relative_to(copied.root)))["train_ticket"]
    assert complaint(job.words) == ""
    log = (copied.root / job.log).read_text()
    name = checkpoint.relative_to(copied.root)
    assert f"checkpoint not used: {name}: " in log
    assert f"energy of earlier segments lost: {paths.training_journal(str(name))}: " in log
    assert content_of(weights) == before


def test_a_rewind_passes_over_damaged_kept_weights(copied, jobs):
    kept = next(copied.results.glob("checkpoints/**/epoch=1.safetensors"))
    kept.write_bytes(flipped(kept.read_bytes(), random.Random(SEED)))
    job = jobs["rewind"]
    output = copied.root / job.outputs[0]
    before = content_of(output)
    assert complaint(job.words) == ""
    log = (copied.root / job.log).read_text()
    assert f"kept weights not used: {kept.relative_to(copied.root)}: " in log
    assert content_of(output) == before


def vouched_for(path):
    """Whether verify can tell that a file is damaged, and the facts beside it are not."""
    facts, arrays = ("corrupted.json", "outliers.json"), ("corrupted_images.npy", "outlier_images.npy")
    return path.name not in facts and (path.suffix != ".npy" or path.name in arrays)


def test_what_was_removed_is_made_anew_on_request(copied, finished):
    dice = random.Random(SEED)
    chosen = [path for path in samples(copied.results) if vouched_for(path)]
    for path in chosen:
        path.write_bytes(flipped(path.read_bytes(), dice))
    ran = copied.call("layerlottery", "verify", "--remove")
    assert ran.returncode == 1
    named = [line.partition(":")[0] for line in ran.stdout.splitlines()]
    assert set(named) >= {str(path.relative_to(copied.root)) for path in chosen}
    assert f", {len(chosen)} damaged" in ran.stdout
    assert not any(path.exists() for path in chosen)
    command = ran.stdout.splitlines()[-1]
    assert command.startswith("snakemake --cores all results/")
    for words in (shlex.split(command), ["snakemake", "--cores", "2", "--configfile", "tiny.yaml"]):
        ran = copied.call(*words)
        assert ran.returncode == 0, ran.stderr
    assert verify(copied.results).good
    assert all(path.exists() for path in chosen if "checkpoints" not in path.parts)
    assert differences(copied.results / "tables", finished.results / "tables") == []
