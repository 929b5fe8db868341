"""SIGKILL at exact moments of one training: it comes out as if nothing had happened, bit for bit."""

import signal

import pytest
from tests.chaos.moments import Moment, inputs, live, result

pytestmark = pytest.mark.slow

EPOCHS = 6
# each life begins where the last one ended; a checkpoint is saved after each of the three batches of an epoch
KILLS = (
    ("Trainer._step", 2),
    ("Trainer.evaluate", 1),  # the end of an epoch
    ("Trainer.evaluate", 1),  # the same end, once more
    ("Trainer._step", 1),  # the first batch after it, in a process that has only evaluated
    ("save_checkpoint", 2),
    ("Trainer.evaluate", 2),  # another end
    ("write_table", 1),  # between two of the three results
    ("leave", 1),
)


def training(ready, folder):
    state = ["--checkpoint", folder / "run.safetensors", "--checkpoint-seconds", 0, "--log", folder / "log"]
    return ["train", *ready, "--output", folder / "output", *state, "--epochs", EPOCHS, "--batch-size", 20]


def test_a_training_survives_kills_at_the_end_of_an_epoch_and_elsewhere(tmp_path):
    ready, calm, struck = inputs(tmp_path), tmp_path / "calm", tmp_path / "struck"
    assert live(training(ready, calm)) == 0
    for name, nth in KILLS:
        assert live(training(ready, struck), Moment(signal.SIGKILL, name, nth)) == -signal.SIGKILL, name
    assert live(training(ready, struck)) == 0
    assert "resumed after" in (struck / "log").read_text()
    assert result(struck / "output") == result(calm / "output")
