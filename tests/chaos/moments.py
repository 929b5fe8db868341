"""A signal at an exact moment of a command's life, whatever the machine's speed: when one of our functions is called.

Commands run in forks of the tests' process, as the warm worker's do; what they import should be imported before.
"""

import os
import sys
from multiprocessing import get_context
from pathlib import Path

import pyarrow.parquet as pq

import layerlottery
import layerlottery.criteria.score
import layerlottery.training.progress
import layerlottery.training.train
from layerlottery.cli.launcher import main
from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.data.prepare import prepare
from layerlottery.networks.initialize import initialize_network
from layerlottery.runtime.stop import Stop
from layerlottery.store.artifacts import read_tensors

OURS = str(Path(layerlottery.__file__).parent)


class Moment:
    """Sends a signal to its own process at the n-th call of a function, or of any of ours if no name is given.

    Counted from the moment in which the command listens to signals.
    """

    def __init__(self, signal, name, nth=1):
        self.signal, self.name, self.left, self.listens = signal, name, nth, False

    def __call__(self, frame, event, argument):
        code = frame.f_code
        if event == "return" and code is Stop.listen.__code__:
            self.listens = True
        elif self.listens and event == "call" and code.co_filename.startswith(OURS):
            self.left -= self.name in (None, code.co_qualname)
            if self.left == 0:
                sys.setprofile(None)
                os.kill(os.getpid(), self.signal)


def _live(words, moment):
    sys.argv[:] = ["layerlottery", *words]
    sys.setprofile(moment)
    main()


def live(words, moment=None):
    """The exit status of a command in a process of its own, negative if a signal ended it."""
    process = get_context("fork").Process(target=_live, args=(list(map(str, words)), moment))
    process.start()
    process.join(120)
    return process.exitcode


def inputs(folder):
    """The options for a small prepared set and the initial weights of a network, made in a folder."""
    prepare(Digits(source="digits", train_size=60, test_size=20, shifted=[]), folder)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=8, width=4), seed=0)
    return ["--data", folder / "facts.json", "--weights", folder / "initial.safetensors"]


def result(output):
    """What a training gives, but for the time it took."""
    content = read_tensors(output / "weights.safetensors")[1]["content"]
    return content, pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()
