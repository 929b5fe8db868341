"""SIGTERM at every moment of a command's life: it ends with 75, or with its work done; run again, it ends the same."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.chaos.moments import Moment, inputs, live, ran, result

from layerlottery import paths
from layerlottery.store.artifacts import read_facts
from layerlottery.training.ended import ended

EPOCHS = 3
# functions in the order of their first calls, from the moment in which somebody listens
BEFORE = ("_hand_over", "run_guarded", "train", "use_devices", "alone", "begin", "load_network", "PreparedSet.open")
TRAINING = ("EnergyMeter.start", "Trainer._step", "Trainer.evaluate")
# write_facts is none: while it trains, the journal calls it as often as the clock says
WRITING = ("Journal.close", "_write", "save_network", "write_table")
AFTER = ("leave", "handle")
FILES = ["curve.parquet", "log", "training.json", "weights.safetensors"]
dice = random.Random(17)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("ready"))


def training(ready, folder):
    state = ["--checkpoint", folder / "run.safetensors", "--log", folder / "log"]
    return ["train", *ready, "--output", folder / "output", *state, "--epochs", EPOCHS, "--batch-size", 20]


@pytest.fixture(scope="module")
def undisturbed(ready, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert live(training(ready, folder)) == 0
    return folder / "output"


def whole(folder, undisturbed):
    return ended(folder, read_facts(undisturbed / "training.json")["config_hash"]) is not None


def struck(ready, undisturbed, folder, moment, number=signal.SIGTERM):
    """A training that is told to stop at a moment: its exit status, once what it left is known to be no half thing."""
    status, output = live(training(ready, folder), Moment(number, *moment)), folder / "output"
    made = list(output.glob("*"))
    assert status in (0, 75)
    assert (folder / "run.safetensors").exists() <= (status == 75)
    assert not made or whole(output, undisturbed)
    assert made or status == 75
    return status


def gone_on(ready, undisturbed, folder):
    """The log of the same command after Snakemake, as it does when a job fails, has removed its outputs."""
    for path in paths.trained(str(folder / "output")):
        Path(path).unlink(missing_ok=True)
    assert live(training(ready, folder)) == 0
    assert result(folder / "output") == result(undisturbed)
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == FILES
    return (folder / "log").read_text()


@pytest.mark.parametrize("moment", BEFORE)
def test_told_to_stop_before_it_trains_it_is_interrupted(ready, undisturbed, tmp_path, moment):
    assert struck(ready, undisturbed, tmp_path, [moment]) == 75
    gone_on(ready, undisturbed, tmp_path)


@pytest.mark.parametrize("moment", TRAINING)
def test_told_to_stop_while_it_trains_it_goes_on(ready, undisturbed, tmp_path, moment):
    assert struck(ready, undisturbed, tmp_path, [moment]) == 75
    log = gone_on(ready, undisturbed, tmp_path)
    assert "resumed after" in log
    assert log.count(" epoch ") < EPOCHS + ("resumed after 0 epochs" in log)


@pytest.mark.parametrize("moment", WRITING)
def test_told_to_stop_while_it_writes_its_results_are_taken_over(ready, undisturbed, tmp_path, moment):
    assert struck(ready, undisturbed, tmp_path, [moment]) == 75
    assert " epoch " not in gone_on(ready, undisturbed, tmp_path)


@pytest.mark.parametrize("moment", AFTER)
def test_told_to_stop_when_all_is_done_it_ends_well(ready, undisturbed, tmp_path, moment):
    assert struck(ready, undisturbed, tmp_path, [moment]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_every_signal_to_stop_counts(ready, undisturbed, tmp_path, number):
    assert struck(ready, undisturbed, tmp_path, ["Trainer._step"], number) == 75
    assert "resumed after" in gone_on(ready, undisturbed, tmp_path)


def test_what_a_results_folder_can_not_keep_is_written_all_the_same(ready, undisturbed, tmp_path):
    words = training(ready, tmp_path)
    where = words.index("--checkpoint")
    del words[where : where + 2]
    written = ran(words, Moment(signal.SIGTERM, "_write"))
    assert (written.returncode, "interrupted: the results are written" in written.stderr) == (75, True)
    assert result(tmp_path / "output") == result(undisturbed)
    anew = ran(words, Moment(signal.SIGTERM, "Trainer._step"))
    assert anew.returncode == 75
    assert "interrupted: there is no checkpoint, the same command starts anew" in anew.stderr


@pytest.mark.slow
def test_told_to_stop_at_any_moment_nothing_is_lost(ready, undisturbed, tmp_path):
    # of 3,748 calls
    for moment in dice.sample(range(1, 3_750), 40):
        folder = tmp_path / str(moment)
        folder.mkdir()
        if struck(ready, undisturbed, folder, [None, moment]):
            gone_on(ready, undisturbed, folder)


def test_a_stage_that_is_told_to_stop_is_interrupted(ready, tmp_path):
    words = ["initialize", *ready[:2], "--output", tmp_path / "weights", "--depth", 8, "--width", 4]
    for name in ("_hand_over", "initialize", "initialize_network", "atomic"):
        told = ran(words, Moment(signal.SIGTERM, name))
        said = "layerlottery: interrupted: the same command runs it again\n"
        assert (told.returncode, told.stderr) == (75, said)
        assert list(tmp_path.iterdir()) == []
    assert live(words, Moment(signal.SIGTERM, "handle")) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


# a process of its own, which imports and ends
OWN = """
import atexit, os, signal, sys
from layerlottery.cli.launcher import main
class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == awaited:
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Importing())
awaited = sys.argv.pop(1)
if awaited == "nothing":
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
main()
"""


@pytest.mark.parametrize(("name", "status"), [("click", 75), ("layerlottery.cli.results", 75), ("nothing", 0)])
def test_told_to_stop_while_it_imports_or_exits(name, status):
    told = subprocess.run([sys.executable, "-c", OWN, name, "schema"], capture_output=True, text=True)
    assert told.returncode == status
    assert told.stderr == "layerlottery: interrupted: the same command runs it again\n" * (status == 75)
