"""What `mkdocs build` does beside its plugins: pages of the notebook, of all commands, and of files that pages link to.

Pages are read on code hosts, too, where `../workflow/presets/paper.yaml` leads out of docs. On the site each such file
is a page of its own, so that it holds all that it links to.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

from layerlottery.cli.main import GROUPS, cli

LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)")
# a name that begins a cell of a table
NAME = re.compile(r"(?<=<td><code>)[^<]+(?=</code>)")
NOTEBOOK = "tutorial.ipynb"
COMMANDS = "commands.md"
LANGUAGES = {".yaml": "yaml", ".py": "python", ".cff": "yaml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    docs = Path(config.docs_dir)
    for file in _tutorial(docs / NOTEBOOK, config):
        files.append(file)
    linked = {name for page in files.documentation_pages() for name in _outside(page.content_string, page.src_uri)}
    # mkdocs itself warns of links that lead nowhere, and of links to folders
    for name in sorted(name for name in linked if (docs.parent / name).is_file()):
        files.append(_shown(docs.parent / name, name, config))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    def there(match: re.Match[str]) -> str:
        target = _target(match[1], page.file.src_uri)
        if target == NOTEBOOK:
            return match[1].replace(".ipynb", ".md")
        if not target.startswith("../"):
            return match[1]
        return posixpath.relpath(_page(target.removeprefix("../")), posixpath.dirname(page.file.src_uri) or ".")

    text = LINK.sub(there, markdown)
    return "\n".join([text, *_commands()]) if page.file.src_uri == COMMANDS else text


def on_page_content(html: str, **_: Any) -> str:
    """The page, where long names in tables may break between their words."""
    return NAME.sub(lambda match: re.sub(r"(?<=[._])(?=\w)|(?<=[a-z])(?=[A-Z])", "<wbr>", match[0]), html)


def _commands() -> Iterator[str]:
    """All commands in their groups, as `--help` says it."""
    for title, commands in GROUPS.items():
        yield f"## {title}\n"
        for command in commands:
            yield from _command(command)


def _command(command: click.Command) -> Iterator[str]:
    context = click.Context(command, click.Context(cli, info_name="layerlottery"), info_name=command.name)
    yield f"### {command.name} {{ #layerlottery-{command.name} }}\n"
    yield f"{cleandoc(command.help or '')}\n"
    yield f"```text\nlayerlottery {command.name} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield "| option | meaning |\n|---|---|"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            option, meaning = (" ".join(one.split()) for one in record)
            # outside of code they would begin a link, and end the cell
            meaning = re.sub(r"([\[|])", r"\\\1", meaning)
            yield f"| `{option}` | {meaning} |"
    yield ""


def _target(link: str, source: str) -> str:
    """Where a link of the page `source` leads, from docs on."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _outside(markdown: str, source: str) -> Iterator[str]:
    """Files of the repository that lie outside of docs, by their path in it."""
    for link in LINK.findall(markdown):
        target = _target(link, source)
        if target.startswith("../"):
            yield target.removeprefix("../")


def _page(name: str) -> str:
    return f"repository/{name}.md"


def _shown(path: Path, name: str, config: MkDocsConfig) -> File:
    """A page that shows a file."""
    text = f"# {path.name}\n\n`{name}` in the repository.\n\n"
    text += f"````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text(encoding='utf-8')}````\n"
    return File.generated(config, _page(name), content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def _tutorial(path: Path, config: MkDocsConfig) -> Iterator[File]:
    """The notebook with its outputs as a page, and its figures."""
    text, kept = MarkdownExporter().from_notebook_node(nbformat.read(path, as_version=4))
    outputs: dict[str, Any] = kept["outputs"]
    for name, content in outputs.items():
        yield File.generated(config, f"tutorial/{name}", content=content)
        text = text.replace(f"({name})", f"(tutorial/{name})")
    yield File.generated(config, "tutorial.md", content=text)
