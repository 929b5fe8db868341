"""One training over several processes of this machine, each with its own GPU: DistributedDataParallel.

The process that calls is the first. It alone hears signals, holds locks, measures energy and writes files, so that all
around a training is what it is around one process. It starts the others (helper.py), as torchrun would, and they end
with it. All read the same weights and the same checkpoint, and stop after the same batch, when the first one says so.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.training.norms import SharedNorms
from layerlottery.training.ranks import ManyRanks, Ranks
from layerlottery.training.session import Session
from layerlottery.words import one_line

log = logging.getLogger(__name__)

# by name: it imports this module
HELPER = "layerlottery.training.helper"
# for a process that neither answers nor ends, seconds: more than the first one needs to write its files
SILENCE = timedelta(minutes=20)
# until one that has died is noticed, and until this one, which waits for its answer, is ended
NOTICE, GRACE = 2.0, 15.0
POLL = 0.05
# for the others to end by themselves
PATIENCE = 10.0
LONGEST = 300  # characters of an error
# the last that the others hear of a first process that was not killed
GOODBYE = b"goodbye"


@contextmanager
def together(session: Session, others: Sequence[torch.device], *, until: int | None = None) -> Iterator[None]:
    """Train with a process on each of the `others` as well while the block runs; without any, alone.

    They run the training to the end of epoch `until`, as the block has to. Raises LayerLotteryError when one of them
    ends before.
    """
    if not others:
        yield
        return
    if session.trainer.settings.compile == "always":
        raise LayerLotteryError("training.compile: found always; allowed with several GPUs per training: auto, never")
    folder = Path(tempfile.mkdtemp(prefix="layerlottery-"))  # mode 0700: no other user joins
    helpers = _Helpers(folder)
    try:
        helpers.start(session, others, until)
        helpers.await_all()
        join(session, folder, number=0, count=1 + len(others))
        yield
    except LayerLotteryError:
        raise
    except Exception as error:
        # to talk to one that has died fails
        if helpers.lost.wait(NOTICE):
            raise LayerLotteryError(helpers.said) from error
        raise
    finally:
        helpers.end()
        part(session)
        shutil.rmtree(folder, ignore_errors=True)


def join(session: Session, folder: Path, *, number: int, count: int) -> None:
    """Join the processes that meet in `folder` as the `number`-th of `count`, and train with them from now on.

    Raises LayerLotteryError for one that is about to train something else.
    """
    trainer = session.trainer
    if sys.platform == "linux":
        # they are all here, whatever this machine's name leads to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    gpu = trainer.device.type == "cuda"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=_store(folder, count),
        rank=number,
        world_size=count,
        timeout=SILENCE,
        device_id=trainer.device if gpu else None,
    )
    _compare(session)
    norms = SharedNorms(trainer.model, trainer.device)
    trainer.ranks = ManyRanks(number, count, norms, group=trainer.settings.norm_images or 1)
    trainer.compiled = False
    trainer.forward = _parallel(trainer.model, trainer.device)


class _WithUnused(nn.Module):
    """A network and a parameter that it never uses: without any, DistributedDataParallel warns that it looks for them.

    It shall look: other networks have some. And as long as it does, the order of gradients in what is sent is that of
    the first step, so that a resumed training rounds as an undisturbed one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.unused = nn.Parameter(next(model.parameters()).new_zeros(1))

    def forward(self, images: Tensor) -> Any:
        return self.model(images)


def _parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, whose backward pass leaves every process the mean of all gradients."""
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(
        _WithUnused(model),
        device_ids=[device.index] if device.type == "cuda" else None,
        # statistics are the same everywhere
        forward_sync_buffers=False,
        find_unused_parameters=True,
    )


def part(session: Session) -> None:
    """Train with the others no more."""
    session.trainer.forward, session.trainer.ranks = session.trainer.model, Ranks()
    if dist.is_initialized():
        dist.destroy_process_group()


def announce(folder: Path, *, number: int, count: int) -> None:
    """Say that the `number`-th process is about to join."""
    _store(folder, count).set(f"here-{number}", b"")


def _store(folder: Path, count: int) -> Any:
    # a file of the user's own: nothing listens on a port of this machine
    return dist.FileStore(str(folder / "store"), count)  # type: ignore[attr-defined] # it is written in C++


def _compare(session: Session) -> None:
    """Whether all train the same from the same batch on: a file may have changed between two of them."""
    mine = torch.tensor([int(session.fingerprint[:15], 16), session.progress.epoch, session.progress.batch])
    all_of_them = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(all_of_them, mine)
    if any(not torch.equal(one, mine) for one in all_of_them):
        raise LayerLotteryError("processes of one training begin with different files; run the same command again")


class _Helpers:
    """The other processes; `lost` is set when one of them ends too early, and `said` says how."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.lost, self.ending = threading.Event(), threading.Event()
        self.said = ""

    def start(self, session: Session, devices: Sequence[torch.device], until: int | None) -> None:
        """Start a process for each device; all have as many threads as this one."""
        given = session.given | {"settings": session.given["settings"].model_dump(mode="json")}
        common = {"given": given, "until": until, "folder": self.folder, "threads": torch.get_num_threads()}
        for number, device in enumerate(devices, start=1):
            words = common | {"number": number, "count": 1 + len(devices), "device": str(device)}
            with self._errors_of(number).open("wb") as errors:
                process = subprocess.Popen(
                    # -P: not from the current folder, where a user's random.py may lie
                    [sys.executable, "-P", "-m", HELPER, json.dumps(words, default=str)],
                    stdin=subprocess.PIPE,
                    stdout=errors,
                    stderr=errors,
                    # signals are for the first process
                    start_new_session=True,
                )
            self.processes.append(process)
            threading.Thread(target=self._watch, args=(number, process), daemon=True).start()

    def await_all(self) -> None:
        """Until each has loaded what it needs; raises LayerLotteryError when one can't."""
        count = 1 + len(self.processes)
        store, awaited = _store(self.folder, count), [f"here-{number}" for number in range(1, count)]
        while not store.check(awaited):
            if self.lost.wait(POLL):
                raise LayerLotteryError(self.said)

    def end(self) -> None:
        """They end when the pipe closes; those that do not are killed."""
        self.ending.set()
        for process in self.processes:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.write(GOODBYE)
                # closes it also where nobody reads any more
                with suppress(OSError):
                    process.stdin.close()
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.wait()

    def _watch(self, number: int, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        if self.ending.is_set():
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        last = (self._errors_of(number).read_text(errors="replace").strip().splitlines() or [""])[-1]
        self.said = one_line(f"process {number + 1} of this training {how}: {last}"[:LONGEST]).rstrip(": ")
        self.lost.set()
        # on a GPU this process may wait for an answer without an end
        if not self.ending.wait(GRACE):
            log.error(self.said)
            print(f"layerlottery: {self.said}", file=sys.stderr, flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            os._exit(1)

    def _errors_of(self, number: int) -> Path:
        return self.folder / f"errors-{number}"
