"""A check of the words that a cluster's shell will read: the SLURM plugin puts the command line into double quotes.

Configuration files never reach that shell; words typed with --config and file names do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from layerlottery.errors import LayerLotteryError

# characters that a POSIX shell expands inside double quotes
EXPANDED = re.compile(r'[$`"\\]')


def check_words(words: Iterable[str]) -> None:
    """Raise for a word that would not reach the job as it is, or run something on the way."""
    for word in words:
        if EXPANDED.search(word):
            raise LayerLotteryError(
                f'command line: found {word!r}; on a cluster $ ` " and \\ are allowed in a --configfile, not in'
                " --config or in the name of a file or folder"
            )
