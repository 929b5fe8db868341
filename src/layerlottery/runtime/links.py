"""Links out of a results folder: one from somebody else could have a run write, and Snakemake delete, anywhere.

A link in the place of a file needs no check: whatever is written takes the link's own place. Imports no torch.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from layerlottery.errors import LayerLotteryError

# links that are followed all the same, separated as in PATH: to a larger disk, say
FOLLOWED = "LAYERLOTTERY_LINKS"


def check(results: Path) -> None:
    """Raise LayerLotteryError for a link in a results folder to a folder outside of it, unless FOLLOWED names it."""
    whole, followed = results.resolve(), os.environ.get(FOLLOWED, "").split(os.pathsep)
    for link in _links(str(results)):
        target = Path(link).resolve()
        if not target.is_relative_to(whole) and link not in followed:
            raise LayerLotteryError(
                f"{link}: a link to {target}, which is not in the results folder; to write there nevertheless: "
                f"export {FOLLOWED}={shlex.quote(link)}"
            )


def _links(folder: str) -> Iterator[str]:
    """Links to folders, at any depth."""
    below = [folder]
    while below:
        with os.scandir(below.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    if entry.is_dir():
                        yield entry.path
                elif entry.is_dir():
                    below.append(entry.path)
