"""A process that helps another one with its training (together.py): it computes, and writes nothing.

Its standard input is a pipe from that process. When it closes, however that came, this one ends; where the first one
was killed, it also removes what that has left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from layerlottery.config.training import TrainingSettings
from layerlottery.errors import LayerLotteryError, Suspended
from layerlottery.runtime.machine import compute_on
from layerlottery.runtime.stop import SIGNALS
from layerlottery.training.session import begin
from layerlottery.training.together import GOODBYE, announce, join


def take_part(words: dict[str, Any]) -> None:
    """Train with the others from the beginning to the end, or until the first one says stop."""
    given, device = words["given"], torch.device(words["device"])
    compute_on(device, words["threads"])
    checkpoint = given["checkpoint"] and Path(given["checkpoint"])
    files = {"weights": Path(given["weights"]), "data": Path(given["data"]), "checkpoint": checkpoint}
    settings = TrainingSettings.model_validate(given["settings"])
    session = begin(**given | files | {"settings": settings, "device": device})
    session.trainer.save = None
    place = {"number": words["number"], "count": words["count"]}
    announce(Path(words["folder"]), **place)
    join(session, Path(words["folder"]), **place)
    with suppress(Suspended):
        session.trainer.run(session.progress, until=words["until"])


def _end_with_the_first(folder: Path) -> None:
    # while the first one lives, it may need the folder for a moment longer
    if sys.stdin.buffer.read() != GOODBYE:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Help until the pipe closes; an error is a line at the end of standard error, and the status 1."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    words = json.loads(sys.argv[1])
    pipe = threading.Thread(target=_end_with_the_first, args=(Path(words["folder"]),), daemon=True)
    pipe.start()
    warnings.simplefilter("ignore")  # the first process has said them
    try:
        take_part(words)
    except LayerLotteryError as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # its end before the first one's would be taken for a failure
    pipe.join()


if __name__ == "__main__":
    main()
