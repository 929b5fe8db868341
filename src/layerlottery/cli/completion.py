"""What a shell suggests for the words of `show`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Words that would tell the network from others, or files where a path is typed."""
    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    from layerlottery.upkeep.finding import suggestions

    if not incomplete and os.environ.get("COMP_WORDS", "").endswith("="):
        # of bash's words this one is lost in click
        incomplete = "="
    typed = [*(context.params.get("words") or ()), incomplete]
    # bash hands over seed=0 as three words, and takes back the last of them
    words = re.sub(r" ?= ?", "=", " ".join(typed)).split(" ")
    split = len(words) < len(typed)
    found = suggestions(Path(context.params.get("results") or "results"), words[:-1])
    matching = [word for word in found if word.startswith(words[-1])]
    return [CompletionItem(word.partition("=")[2] if split and "=" in words[-1] else word) for word in matching]
