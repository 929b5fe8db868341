"""The files of a finished benchmark as they are published: a folder without anything about somebody's machines.

Tables in which a host is named are written again with numbers in place of names, and so is what is made from them: the
paper's tables, the manifest, the report. The folder is a results folder itself, which `layerlottery verify` checks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.extensible import HASHED, hashed, in_file
from layerlottery.config.loading import load_benchmark
from layerlottery.config.stages import STAGES
from layerlottery.config.studies import Run, TabulateSettings
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.export import crate
from layerlottery.export.markdown import render
from layerlottery.export.private import Private, refuse_paths, refuse_text
from layerlottery.export.result_card import result_card
from layerlottery.export.workflow import SNAKEFILE, workflow_files
from layerlottery.paper.tabulate import tabulate
from layerlottery.report.pages import run_of
from layerlottery.report.report import report
from layerlottery.store.artifacts import read_facts, read_table, read_tensors
from layerlottery.store.schemas import ABOUT
from layerlottery.tables.manifest import rewrite
from layerlottery.upkeep.show import describe, find_network

Facts = dict[str, Any]
Weights = Literal["none", "dense", "all"]
# made again here, which must give what was made there
MADE = ("tabulate", "manifest", "report")
NAMED = "results"
WEIGHTS = "weights"
CARD = "README.md"


@dataclass(frozen=True)
class Published:
    """A benchmark on its way into a folder; `license` is an SPDX name or "", `interactive` as the report has it."""

    results: Path
    weights: Weights = "none"
    machines: bool = True
    license: str = ""
    interactive: bool = True

    def write(self, folder: Path) -> None:
        """Write all files; raises LayerLotteryError for results that are not finished, or of another version."""
        held = self._manifest()
        private = Private.of(held["configuration"])
        benchmark = load_benchmark(held["configuration"] | {"results": NAMED})
        facts = self._tables(folder, held, private, benchmark)
        # read before it is shortened: the file lies where the configuration says
        self._code(folder, held["configuration"], private)
        for name, source in workflow_files().items():
            _copied(source, folder / name)
        (folder / crate.CONFIGURATION).write_text(_yaml(facts["configuration"]), encoding="utf-8")
        runs = list(self._chosen(folder / "tables"))
        for run in runs:
            self._network(folder, run, private)
        title = benchmark.report.title
        (folder / CARD).write_text(self._readme(facts, title, len(runs)), encoding="utf-8")
        refuse_machine(folder, self.results)
        whole = crate.crate(folder, facts, main=SNAKEFILE, title=title, license=self.license)
        (folder / crate.FILE).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _manifest(self) -> Facts:
        path = self.results / "manifest.json"
        wanted = [path, self.results / "report" / "index.html"]
        wanted += map(Path, paths.table_files(str(self.results / "tables")))
        if missing := [one for one in wanted if not one.is_file()]:
            raise LayerLotteryError(f"{missing[0]}: missing, so this benchmark has not ended: snakemake --cores all")
        held = read_facts(path)
        held.pop("config_hash")
        for name in MADE:
            if held["revisions"].get(name) != STAGES[name].revision:
                raise LayerLotteryError(f"{path}: written by another version; update it first: snakemake --cores all")
        return held

    def _tables(self, folder: Path, held: Facts, private: Private, benchmark: Benchmark) -> Facts:
        """Tables, manifest and report; returns the facts of the manifest."""
        source, tables = self.results / "tables", folder / "tables"
        for path in map(Path, paths.tables(str(source))):
            if path.stem != "runs":
                _copied(path, tables / path.name)
        private.write_runs(source / "runs.parquet", tables / "runs.parquet", machines=self.machines)
        tabulate(tables, TabulateSettings.model_validate_json(benchmark.tabulate_slice()))
        named = held | {"configuration": private.value(held["configuration"])}
        facts = rewrite(tables, folder / "manifest.json", named)
        page = folder / "report" / "index.html"
        report(tables, page, benchmark.report, named=NAMED, interactive=self.interactive)
        return facts

    def _chosen(self, tables: Path) -> Iterator[Run]:
        """The networks whose weights go with the tables."""
        if self.weights == "none":
            return
        rows = read_table(tables / "runs.parquet").to_pylist()
        runs = dict.fromkeys(run_of(row) for row in rows)
        yield from {run.folder: run for run in runs if self.weights == "all" or not run.removed}.values()

    def _network(self, folder: Path, run: Run, private: Private) -> None:
        """The weights of a network, and its card."""
        own = self.results / run.folder
        weights = Path(paths.trained_weights(str(own)))
        if not weights.is_file():
            raise LayerLotteryError(f"{weights}: no such file; allowed without the networks: --weights none")
        refuse_paths(read_tensors(weights)[1], str(weights))
        target = folder / WEIGHTS / run.folder.removeprefix("networks/")
        _copied(weights, target / weights.name)
        description = describe(own)
        if not self.machines:
            description["provenance"] |= {"device": "a machine that is not named", "driver_version": None}
        prepared = PreparedSet.open(self.results / paths.prepared(paths.DATASET.format(dataset=run.dataset)))
        card = result_card(description, find_network(own), prepared, {})
        (target / CARD).write_text(private.text(card), encoding="utf-8")

    def _code(self, folder: Path, configuration: Any, private: Private) -> None:
        """Python files that the configuration names, if they are those that were run."""
        for settings in _named_functions(configuration):
            if place := in_file(settings["function"]):
                name = private.text(place[0].as_posix())
                if not place[0].is_file() or hashed(place[0].read_bytes()) != settings.get("code"):
                    raise LayerLotteryError(f"{place[0]}: not the code that these results were made with; restore it")
                if Path(name).is_absolute() or ".." in Path(name).parts:
                    raise LayerLotteryError(f"{name}: lies outside of the working directory; it can't be published")
                _copied(place[0], folder / name)

    def _readme(self, facts: Facts, title: str, weights: int) -> str:
        tables = {name: ABOUT[name] for name in (*paths.TABLES, *paths.PAPER)}
        given = {"weights": weights, "machines": self.machines, "license": self.license}
        return render("published.md.j2", title=title, manifest=facts, tables=tables, **given)


def refuse_machine(folder: Path, results: Path) -> None:
    """Raise LayerLotteryError where a text in a folder names the home, or the place of the results or of the folder."""
    places = {str(place.resolve()) for place in (Path.home(), results, results.resolve().parent, folder)}
    # every machine has these, and the workflow itself names one
    places -= {"/", "/tmp"}  # noqa: S108
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".parquet", ".safetensors"):
            refuse_text(path.read_text(encoding="utf-8"), path.relative_to(folder).as_posix(), sorted(places))


def _named_functions(value: Any) -> Iterator[Mapping[str, Any]]:
    """Settings within a configuration that name code of a file."""
    if isinstance(value, Mapping):
        if str(value.get("code", "")).startswith(HASHED):
            yield value
        for part in value.values():
            yield from _named_functions(part)


def _yaml(configuration: Any) -> str:
    head = "# What this benchmark asked for; what is not named is the default.\n"
    text: str = yaml.safe_dump(_uncoded(configuration), sort_keys=False, allow_unicode=True, width=120)
    return head + text


def _uncoded(value: Any) -> Any:
    """A configuration without the hashes of files that it names, which are filled in when it is read."""
    if isinstance(value, Mapping):
        kept = {key: part for key, part in value.items() if key != "code" or not str(part).startswith(HASHED)}
        return {key: _uncoded(part) for key, part in kept.items()}
    return [_uncoded(part) for part in value] if isinstance(value, list) else value


def _copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
