"""What one training has made is copied for every network that comes to be the same, and for no other."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from layerlottery import paths
from layerlottery.config.data import Digits
from layerlottery.config.loading import load_benchmark
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.recipes import Recipes
from layerlottery.config.stages import STAGES
from layerlottery.config.training import TrainingSettings
from layerlottery.data.prepare import prepare
from layerlottery.errors import Suspended
from layerlottery.networks.initialize import initialize_network
from layerlottery.runtime.stop import STOP
from layerlottery.store.artifacts import read_facts, read_table, read_tensors
from layerlottery.training import alone
from layerlottery.training.loop import Trainer
from layerlottery.training.train import train
from layerlottery.upkeep.stale import find_stale
from layerlottery.upkeep.verify import verify

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=2, batch_size=40)
DATASET = paths.DATASET.format(dataset="digits")
LEVEL = Recipes(training=SETTINGS).level("tiny")
DENSE = paths.DENSE.format(dataset="digits", network="tiny", seed=0, recipe=LEVEL)
# the same blocks, chosen by two criteria
FIRST, SECOND = (f"{DENSE}/structure=layers/criterion={one}/draw=0/scored_at=init/removed=1/rewind=0" for one in "ab")

HELD = """
import sys
from pathlib import Path
import torch
from layerlottery.config.training import TrainingSettings
from layerlottery.training.loop import Trainer
from layerlottery.training.train import train
*files, settings = sys.argv[1:]
weights, data, output, checkpoint = map(Path, files)
step = Trainer._step
def held(self, *arguments):
    Trainer._step = step
    print("begun", flush=True)
    sys.stdin.read()
    return step(self, *arguments)
Trainer._step = held
settings = TrainingSettings.model_validate_json(settings)
train(weights, data, output, settings, seed=0, device=torch.device("cpu"), checkpoint=checkpoint)
"""


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    results = tmp_path_factory.mktemp("ready") / "results"
    data = Path(paths.prepared(f"{results}/{DATASET}"))
    prepare(Digits(source="digits", train_size=80, test_size=40), data.parent)
    for place in (FIRST, SECOND):
        begin_with(results, place, seed=0)
    return results


@pytest.fixture
def results(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "results")


@pytest.fixture
def steps(monkeypatch):
    """The number of training steps made in this process."""
    made, step = [], Trainer._step

    def counting(self, *arguments):
        made.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", counting)
    return made


def begin_with(results, place, seed):
    data = Path(paths.prepared(f"{results}/{DATASET}"))
    start = Path(paths.initial_weights(f"{results}/{place}"))
    initialize_network(data, start, NetworkSettings(depth=8, width=2), seed=seed)


def run(results, place, settings=SETTINGS, **options):
    data = Path(paths.prepared(f"{results}/{DATASET}"))
    options = {"seed": 0, "checkpoint": Path(paths.Folders(str(results)).checkpoint(place))} | options
    start = Path(paths.initial_weights(f"{results}/{place}"))
    return train(start, data, results / place, settings, device=CPU, **options)


def contents(folder):
    """All that a training's files hold but where they belong and what they were made from."""
    weights, curve, facts = (Path(file) for file in paths.trained(str(folder)))
    tensors, held = read_tensors(weights)
    described = {name: value for name, value in read_facts(facts).items() if name != "copied_from"}
    return {name: array.tobytes() for name, array in tensors.items()}, held, read_table(curve).to_pylist(), described


def test_of_a_training_that_averages_the_averaged_network_is_copied(results, steps):
    averaging = SETTINGS.model_copy(update={"ema_decay": 0.9})
    level = Recipes(training=averaging).level("tiny")
    first, second = (place.replace(LEVEL, level) for place in (FIRST, SECOND))
    for place in (first, second):
        start = Path(paths.initial_weights(f"{results}/{place}"))
        data = Path(paths.prepared(f"{results}/{DATASET}"))
        initialize_network(data, start, NetworkSettings(depth=8, width=2), seed=0)
    run(results, first, averaging)
    made = len(steps)
    assert run(results, second, averaging)["copied_from"] == first
    assert len(steps) == made
    assert contents(results / second)[0] == contents(results / first)[0]


def test_two_criteria_that_remove_the_same_blocks_train_once(results, steps):
    first = run(results, FIRST)
    made = len(steps)
    assert made == 4
    second = run(results, SECOND)
    assert len(steps) == made
    assert second == first | {"copied_from": FIRST}
    assert contents(results / SECOND) == contents(results / FIRST)
    for name in (paths.trained_weights, paths.curve, paths.training_facts):
        assert Path(name(f"{results}/{SECOND}")).stat().st_nlink == 1
    assert not verify(results).damaged
    # nothing is left on the way
    assert not [path for path in (results / "checkpoints").rglob("*") if path.is_file()]


def test_averaged_weights_are_copied_as_they_were_handed_on(results, steps):
    settings = SETTINGS.model_copy(update={"ema_decay": 0.5})
    level = Recipes(training=settings).level("tiny")
    places = [place.replace(LEVEL, level) for place in (FIRST, SECOND)]
    for place in places:
        begin_with(results, place, seed=0)
        run(results, place, settings)
    assert len(steps) == 4
    assert contents(results / places[0]) == contents(results / places[1])


def test_a_copy_outlives_damage_to_its_original(results, steps):
    run(results, FIRST)
    run(results, SECOND)
    weights = Path(paths.trained_weights(f"{results}/{FIRST}"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    found = verify(results)
    assert set(found.damaged) == {weights}
    # the damaged one is trained again, not taken from its copy
    weights.unlink()
    before = len(steps)
    assert "copied_from" not in run(results, FIRST)
    assert len(steps) == 2 * before
    assert not verify(results).damaged


@pytest.mark.parametrize("change", ["recipe", "seed", "start", "weights", "no checkpoint"])
def test_another_training_is_done(results, steps, change):
    options, place, settings = {}, SECOND, SETTINGS
    run(results, FIRST)
    before = len(steps)
    if change == "recipe":
        settings = SETTINGS.model_copy(update={"learning_rate": 0.05})
        place = SECOND.replace(LEVEL, Recipes(training=settings).level("tiny"))
        begin_with(results, place, seed=0)
    elif change == "weights":
        begin_with(results, SECOND, seed=1)
    else:
        options = {"seed": {"seed": 1}, "start": {"start_epoch": 1}}.get(change, {"checkpoint": None})
    assert "copied_from" not in run(results, place, settings, **options)
    assert len(steps) > before


@pytest.mark.parametrize("name", [paths.trained_weights, paths.curve, paths.training_facts])
@pytest.mark.parametrize("spoil", ["damaged", "missing"])
def test_what_is_not_whole_is_not_copied(results, steps, name, spoil):
    run(results, FIRST)
    file = Path(name(f"{results}/{FIRST}"))
    if spoil == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-3] + b"oops")
    before = len(steps)
    assert "copied_from" not in run(results, SECOND)
    assert len(steps) == 2 * before


def test_a_raised_revision_trains_again(results, steps, monkeypatch):
    run(results, FIRST)
    before = len(steps)
    monkeypatch.setitem(STAGES, "train", replace(STAGES["train"], revision=STAGES["train"].revision + 1))
    assert "copied_from" not in run(results, SECOND)
    assert len(steps) == 2 * before


def test_a_training_whose_results_are_gone_is_done_again(results, steps):
    run(results, FIRST)
    run(results, SECOND)
    before = len(steps)
    shutil.rmtree(results / FIRST)
    Path(paths.trained_weights(f"{results}/{SECOND}")).unlink()
    assert "copied_from" not in run(results, SECOND)
    assert len(steps) == 2 * before


@pytest.fixture
def first(results):
    """Another process in the middle of the first training, which goes on when its input is closed."""
    files = paths.initial_weights(f"{results}/{FIRST}"), paths.prepared(f"{results}/{DATASET}"), results / FIRST
    checkpoint = paths.Folders(str(results)).checkpoint(FIRST)
    command = [sys.executable, "-c", HELD, *map(str, (*files, checkpoint)), SETTINGS.model_dump_json()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    with process:
        yield process
        process.kill()


def soon(action):
    timer = threading.Timer(1.0, action)
    timer.start()
    return timer


def test_the_second_of_two_at_once_waits_and_copies(results, steps, first, monkeypatch):
    monkeypatch.setattr(alone, "POLL_SECONDS", 0.01)
    timer = soon(first.stdin.close)
    facts = run(results, SECOND)
    timer.join()
    assert first.wait(60) == 0
    assert facts["copied_from"] == FIRST
    assert not steps
    assert contents(results / SECOND) == contents(results / FIRST)
    assert not verify(results).damaged


def test_when_the_first_is_killed_the_second_trains(results, steps, first, monkeypatch):
    monkeypatch.setattr(alone, "POLL_SECONDS", 0.01)
    timer = soon(first.kill)
    facts = run(results, SECOND)
    timer.join()
    assert "copied_from" not in facts
    assert len(steps) == 4
    # and the first, when it comes again, is the copy
    assert run(results, FIRST)["copied_from"] == SECOND
    assert len(steps) == 4


def test_who_waits_stops_when_told_to(results, steps, first, monkeypatch):
    monkeypatch.setattr(alone, "POLL_SECONDS", 0.01)
    timer = soon(lambda: os.kill(os.getpid(), signal.SIGTERM))
    # so that SLURM queues its job again: see runtime/requeue.py
    with pytest.raises(Suspended, match="takes over what it finishes"):
        run(results, SECOND)
    timer.join()
    assert not STOP.requested
    assert not steps
    assert not Path(paths.trained_weights(f"{results}/{SECOND}")).exists()


def test_the_lock_of_a_killed_process_is_stale(results, first):
    first.kill()
    first.wait()
    study = {"name": "one", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": ["l1"]}
    study["removed"] = [1]
    benchmark = load_benchmark(
        {"datasets": {"digits": {"source": "digits"}}, "studies": [study], "results": str(results)}
    )
    stale, others = find_stale(results, [benchmark])
    locks = [file for file in stale if "/training=" in file.path]
    assert [(Path(file.path).suffix, file.owner) for file in locks] == [(".lock", DENSE)]
    assert others == 0
    assert verify(results)
