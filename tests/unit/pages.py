"""The documents' code blocks, for the tests that run them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
STEPS = {"&&", "||", "|", ";", "&"}


@dataclass(frozen=True)
class Block:
    """A code block: where it begins, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The blocks of a page, in order; of one language, if it is given."""
    found = [*_blocks(page, (ROOT / page).read_text(encoding="utf-8").splitlines())]
    return [one for one in found if language in (None, one.language)]


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    began: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, 1):
        mark = re.fullmatch(r"\s*(`{3,})(\S*)", line)
        if mark and began is None:
            began = number, mark[1], mark[2]
        elif mark and began and mark[1] == began[1] and not mark[2]:
            text = "\n".join(lines[began[0] : number - 1]) + "\n"
            yield Block(page, began[0], _language(began[2], text), text)
            began = None
    assert began is None, f"{page}:{began[0]}: this block has no end"


def _language(said: str, text: str) -> str:
    """What a block is in: rules may be shown as Python; without a word it is commands, or what they print."""
    if said == "python" and re.search(r"^(module|rule|use rule) ", text, re.MULTILINE):
        return "snakemake"
    begins = re.match(r"(layerlottery|snakemake|make|pip|git|python) ", text)
    return said or ("bash" if begins else "text")


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell's text, as words: without comments, redirections and settings of variables.

    A variable that a line of the text sets alone is put in where a later one uses it.
    """
    variables: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words: list[str] = []
        for word in [*reader, ";"]:
            if word not in STEPS:
                words += variables.get(word, [word])
                continue
            set_here = [one for one in words if re.match(r"[A-Za-z_]+=", one)]
            if words and set_here == words:
                variables |= {f"${one.partition('=')[0]}": shlex.split(one.partition("=")[2]) for one in words}
            plain = words[len(set_here) :] if words[: len(set_here)] == set_here else words
            if plain and plain[0] != "export":
                yield _before_redirection(plain)
            words = []


def _before_redirection(words: list[str]) -> list[str]:
    ends = [place for place, word in enumerate(words) if word in ("<", ">", ">>")]
    return words[: ends[0]] if ends else words


def spoken(page: str) -> Iterator[list[str]]:
    """Commands of ours in a page's running text: `layerlottery stale --remove`."""
    prose = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`((?:layerlottery|snakemake|make|python) [^`]+)`", prose):
        yield from commands(" ".join(code.split()))
