"""A signal at an exact moment of a command's life, whatever the machine's speed: when one of our functions is called.

Commands run in forks of a process that has imported what they need and done nothing else, as the warm worker's do:
a fork of the tests' own process, which has used autograd or torch.distributed, may fail or crash.
"""

import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

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
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


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


def _run(words, moment, environment, said):
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in (1, "out"), (2, "err"):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv[:] = ["layerlottery", *words]
    sys.setprofile(moment)
    main()


def ran(words, moment=None):
    """A command in a process of its own, as it ended; its exit status is negative if a signal ended it."""
    words = list(map(str, words))
    with TemporaryDirectory() as folder:
        said = Path(folder)
        process = FORKS.Process(target=_run, args=(words, moment, dict(os.environ), said))
        process.start()
        process.join(120)
        texts = [(said / name).read_text() for name in ("out", "err")]
        return subprocess.CompletedProcess(words, process.exitcode, *texts)


def live(words, moment=None):
    """The exit status of a command."""
    return ran(words, moment).returncode


def inputs(folder):
    """The options for a small prepared set and the initial weights of a network, made in a folder."""
    prepare(Digits(source="digits", train_size=60, test_size=20, shifted=[]), folder)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=8, width=4), seed=0)
    return ["--data", folder / "facts.json", "--weights", folder / "initial.safetensors"]


def result(output):
    """What a training gives, but for the time it took."""
    content = read_tensors(output / "weights.safetensors")[1]["content"]
    return content, pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()
