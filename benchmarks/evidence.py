"""`make evidence`: docs/evidence, the study of which blocks go, its pages and figures from the tables that lie there.

    snakemake --cores all --configfile workflow/presets/evidence.yaml
    python benchmarks/evidence.py --take results/evidence cifar10
    snakemake --cores all --configfile workflow/presets/evidence_digits.yaml
    python benchmarks/evidence.py --take results/evidence_digits digits

`--take` copies what `layerlottery publish` would of a finished study: tables, manifest and report. The pages are made
from these alone, in seconds; a test compares them. A study may have any number of its planned seeds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evidence_figures import forest_svg, robustness_svg
from evidence_tables import NAMES, Study
from evidence_words import Told
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.export.published import Published
from layerlottery.upkeep.verify import require_good
from layerlottery.words import factor, human_size, markdown, percent

HERE = Path(__file__).parents[1]
EVIDENCE = HERE / "docs" / "evidence"
TEMPLATES = Path(__file__).parent / "evidence"
PAGES = ("index.md", "study.md")
BACK = "git checkout docs/evidence brings back what was committed, and --take takes a run"
# bytes of a report, and of the tables of all studies
REPORT, TABLES = 1_000_000, 5_000_000


def take(results: Path, name: str, evidence: Path) -> None:
    """Put the tables, manifest and report of a finished study in place of those that lie there.

    Raises LayerLotteryError, and changes nothing, where it is unfinished, damaged, another study or too large.
    """
    require_good(results)
    with tempfile.TemporaryDirectory(prefix="layerlottery-") as held:
        whole, folder = Path(held).resolve() / "whole", Path(held).resolve() / name
        with _named(whole, results):
            Published(results, interactive=False).write(whole)
        for path in map(Path, _kept(str(whole))):
            (folder / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to(whole))
        others = [evidence / one for one in studies(evidence) if one != name]
        for other in others:
            require_good(other)
        _check_sizes(folder, [path for other in (folder, *others) for path in other.glob("tables/*.parquet")])
        with _named(folder, results):
            Study.read(folder)
        # whole beside it before anything goes, for a full disk
        fresh = evidence / f".{name}"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(folder, fresh)
        shutil.rmtree(evidence / name, ignore_errors=True)
        fresh.rename(evidence / name)


@contextmanager
def _named(there: Path, results: Path) -> Iterator[None]:
    """Errors of a copy name what it is a copy of."""
    try:
        yield
    except LayerLotteryError as error:
        raise LayerLotteryError(str(error).replace(str(there), str(results))) from error


def _kept(folder: str) -> list[str]:
    """What is kept of a published study: its workflow is this repository."""
    return [*paths.table_files(f"{folder}/tables"), f"{folder}/manifest.json", f"{folder}/report/index.html"]


def _check_sizes(folder: Path, tables: list[Path]) -> None:
    page, total = (folder / "report" / "index.html").stat().st_size, sum(path.stat().st_size for path in tables)
    for what, size, most in (("report", page, REPORT), ("tables of all studies", total, TABLES)):
        if size > most:
            raise LayerLotteryError(f"{what}: found {human_size(size)}; allowed: {human_size(most)}")


def studies(evidence: Path) -> list[str]:
    """The studies that lie there, the large one first."""
    return [name for name in NAMES if (evidence / name).exists()]


def written(evidence: Path) -> dict[str, str]:
    """Every page and figure by its name, from the tables that lie in a folder.

    Raises LayerLotteryError where there is no study, or a table is missing or damaged.
    """
    try:
        for name in studies(evidence):
            require_good(evidence / name)
        held = [Study.read(evidence / name) for name in studies(evidence)]
    except LayerLotteryError as error:
        # a benchmark's own advice would be to run it again
        raise LayerLotteryError(f"{str(error).partition(';')[0]}; {BACK}") from error
    if not held:
        raise LayerLotteryError(f"{evidence}: found no study; allowed: one of {', '.join(NAMES)}, by --take")
    told = [Told(one) for one in held]
    found = {page: rendered(f"{page}.j2", studies=told, first=told[0]) for page in PAGES}
    found |= {f"forest_{one.name}.svg": forest_svg(one) for one in held}
    found |= {f"robustness_{one.name}.svg": robustness_svg(one) for one in held}
    # the site's first page shows the large study, once it is there
    return found | {"forest.svg": found[f"forest_{held[0].name}.svg"]}


def rendered(template: str, **given: object) -> str:
    """A Markdown text from a template beside this file, in which no blank line follows another."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # noqa: S701 - Markdown, of the repository's own tables
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "factor": factor, "markdown": markdown}
    text = environment.get_template(template).render(**given)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--take", nargs=2, metavar=("RESULTS", "NAME"), help=f"NAME: one of {', '.join(NAMES)}")
    given = parser.parse_args().take
    if given and given[1] not in NAMES:
        parser.error(f"--take: found {given[1]}; allowed: {', '.join(NAMES)}")
    try:
        if given:
            take(Path(given[0]), given[1], EVIDENCE)
        for name, text in written(EVIDENCE).items():
            (EVIDENCE / name).write_text(text, encoding="utf-8")
    except (LayerLotteryError, OSError) as error:
        sys.exit(str(error))
    print(f"{EVIDENCE}: {', '.join(studies(EVIDENCE))}")


if __name__ == "__main__":
    main()
