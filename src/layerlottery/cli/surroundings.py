"""What a command does not want of its surroundings: a terminal without some signs, warnings that are errors."""

from __future__ import annotations

import codecs
import os
import sys
import warnings

# what Python ignores unless it is told otherwise
IGNORED = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
NARROWEST = 20  # columns; a width at which nothing can be read is none
# where the terminal's encoding lacks a sign, another that means the same
PLAIN = {"−": "-", "–": "-", "×": "x", "…": "~", "Δ": "d", "ξ": "xi", "θ": "theta", "µ": "u", "·": "-"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign, " " if sign.isspace() else "?") for sign in signs), error.end


def print_anywhere() -> None:
    """Let standard output and error take any text, file names that are no text included, in lines that can be read."""
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated) < NARROWEST:
        del os.environ["COLUMNS"]
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        # a test's or a notebook's stream takes any
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def only_warn() -> None:
    """Python's usual filters in place of PYTHONWARNINGS=error: other packages' warnings would end a command."""
    if any(option.startswith("e") for option in sys.warnoptions):
        warnings.resetwarnings()
        for category in IGNORED:
            warnings.simplefilter("ignore", category)
