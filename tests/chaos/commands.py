"""The commands that Snakemake would run, and running them in this process, as their launcher would."""

import contextlib
import io
import re
import shlex
import sys
from typing import NamedTuple
from unittest import mock

from layerlottery.cli.main import main


class Job(NamedTuple):
    """One job of a dry run: its rule, its files, and the words of its command after `layerlottery`."""

    rule: str
    inputs: list
    outputs: list
    words: list

    @property
    def log(self):
        return self.words[self.words.index("--log") + 1]


def every_rule(project, *targets):
    """One job of each rule that has files to read, by the rule's name."""
    ran = project.snakemake("--dry-run", "--forceall", "--printshellcmds", *targets)
    assert ran.returncode == 0, ran.stderr
    found = {}
    for block in re.split(r"\n(?=(?:local)?rule )", ran.stdout + ran.stderr)[1:]:
        rule = block.partition(":")[0].split()[-1]
        command = re.search(r"^Shell command: (?:exec )?layerlottery (.+)$", block, re.MULTILINE)
        if command:
            found[rule] = Job(rule, _listed("input", block), _listed("output", block), shlex.split(command[1]))
    return found


def _listed(name, block):
    line = re.search(rf"^    {name}: (.+)$", block, re.MULTILINE)
    return line[1].split(", ") if line else []


def complaint(words):
    """What a command that fails prints on stderr; "" when it ends well."""
    said = io.StringIO()
    with mock.patch.object(sys, "argv", ["layerlottery", *words]), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            if ended.code:
                return said.getvalue()
    return ""
