"""A signal at an exact moment of a command's life, whatever the machine's speed: when one of our functions is called.

Commands run in fresh processes: a fork of one that has used autograd or torch.distributed may fail or crash.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

import layerlottery
from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.data.prepare import prepare
from layerlottery.networks.initialize import initialize_network
from layerlottery.runtime.stop import Stop
from layerlottery.store.artifacts import read_tensors

OURS, ROOT = str(Path(layerlottery.__file__).parent), Path(__file__).parents[2]
RUN = """
import json, sys
root, words, told = json.loads(sys.argv[1])
sys.path.insert(0, root)
from layerlottery.cli.launcher import main
from tests.chaos.moments import Moment
sys.argv[:] = ["layerlottery", *words]
sys.setprofile(Moment(*told) if told else None)
main()
"""


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


def ran(words, moment=None):
    """A command as it ended; its exit status is negative if a signal ended it."""
    told = None if moment is None else (int(moment.signal), moment.name, moment.left)
    given = json.dumps([str(ROOT), list(map(str, words)), told])
    return subprocess.run([sys.executable, "-c", RUN, given], capture_output=True, text=True, timeout=120)


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
