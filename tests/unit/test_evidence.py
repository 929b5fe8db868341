"""docs/evidence: its pages say what the tables say, for however many seeds; the tables are whole and small."""

import dataclasses
import errno
import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.unit.pages import DOCS, ROOT

from layerlottery.errors import LayerLotteryError
from layerlottery.upkeep.verify import require_good

EVIDENCE = DOCS / "evidence"
# names, and figures of the design that no table has: these alone may stand in the templates
NAMED = r"ResNet\d+|CIFAR-10|CO2|2023|arxiv\.org/abs/2301\.10835|\.md\.j2"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import evidence
        import evidence_figures
        import evidence_tables
        import evidence_words
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return {"pages": evidence, "figures": evidence_figures, "tables": evidence_tables, "words": evidence_words}


@pytest.fixture(scope="module")
def study(modules):
    name = modules["pages"].studies(EVIDENCE)[-1]
    return modules["tables"].Study.read(EVIDENCE / name)


def test_pages_and_figures_are_those_of_the_tables(modules):
    made = modules["pages"].written(EVIDENCE)
    there = {path.name: path.read_text(encoding="utf-8") for path in EVIDENCE.iterdir() if path.is_file()}
    assert there.keys() == made.keys()
    for name, text in made.items():
        assert there[name] == text, f"{name}: run make evidence"


def test_every_study_verifies_and_is_small(modules):
    pages = modules["pages"]
    names = pages.studies(EVIDENCE)
    assert names
    for name in names:
        require_good(EVIDENCE / name)
        assert (EVIDENCE / name / "report" / "index.html").stat().st_size <= pages.REPORT
    assert sum(path.stat().st_size for path in EVIDENCE.glob("*/tables/*.parquet")) <= pages.TABLES


def test_no_number_is_written_by_hand():
    templates = sorted((ROOT / "benchmarks" / "evidence").glob("*.j2"))
    assert len(templates) == 3
    for path in templates:
        text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        # the width of a picture is none of its numbers
        text = re.sub(rf'width="\d+"|{NAMED}', "", text)
        assert re.findall(r"\d+", text) == [], path.name


@pytest.mark.parametrize("name", sorted(path.parent.name for path in EVIDENCE.glob("*/manifest.json")))
def test_the_figures_of_the_pages_are_the_tables(modules, name):
    study = modules["tables"].Study.read(EVIDENCE / name)
    rows = study.tables.summary
    for criterion, row in zip(("snip", "grasp"), study.rows("tickets"), strict=True):
        own = rows[(rows["criterion"] == criterion) & (rows["rewind"] == "0") & (rows["xi"] == "1")]
        own = own[own["structure"] == "layers"]
        assert row.mean == own["delta_accuracy"].item()
        assert (EVIDENCE / "index.md").read_text(encoding="utf-8").count(row.estimate) >= 1
        cost = next(one for one in study.costs() if one.what == row.what)
        assert cost.macs == own["macs_reduction"].item()
        assert cost.speedup[0] == pytest.approx(own["train_speedup"].item())
        times = study.tables.runs.query("criterion == @criterion and rewind == '0' and structure == 'layers'")
        logs = np.log(times["train_speedup"])
        ends = stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs))
        assert cost.speedup[1:] == pytest.approx(np.exp(ends))
    assert [row.printed for row in study.rows("tickets")] == [-0.50, 0.34]
    assert len(study.architectures) == 10


@pytest.fixture
def repeated(modules, study):
    """The study with made-up answers of so many seeds, in which one architecture knows nothing, and its verdicts."""

    def repeat(seeds, *, broken):
        random, parts = np.random.default_rng(1), []
        answers = study.tables.answers
        first = answers[answers["seed"] == answers["seed"].min()]
        for seed in range(seeds):
            bits = [random.random(count) < 0.8 for count in first["images"]]
            if broken:
                bits = [one & (name != "depths_0_0_3") for one, name in zip(bits, first["criterion"], strict=True)]
            parts.append(first.assign(seed=seed, answers=[np.packbits(one).tobytes() for one in bits]))
        frames = {}
        for name, level in (("summary", "delta_"), ("comparisons", ""), ("resilience", "")):
            frame = getattr(study.tables, name).assign(seeds=seeds)
            mean = frame["delta_accuracy" if level else "difference"]
            frame = frame.assign(**{f"{level}se": 0.5, f"{level}df": 9.0, "low": mean - 1, "high": mean + 1})
            frames[name] = frame.assign(detectable=1.5, verdict_holm="undecided", outcome="undecided")
        tables = dataclasses.replace(study.tables, answers=pd.concat(parts), **frames)
        one = study.benchmark.studies[0].model_copy(update={"seeds": list(range(seeds))})
        benchmark = study.benchmark.model_copy(update={"studies": [one, *study.benchmark.studies[1:]]})
        return dataclasses.replace(study, tables=tables, benchmark=benchmark)

    return repeat


@pytest.mark.parametrize("seeds", [1, 3, 10])
def test_it_is_told_for_any_number_of_seeds(modules, repeated, seeds):
    told = modules["words"].Told(repeated(seeds, broken=False))
    for page in modules["pages"].PAGES:
        text = modules["pages"].rendered(f"{page}.j2", studies=[told], first=told)
        assert f"{seeds} of {told.planned_seeds} planned seeds" in text
        assert ("nothing is inferred" in text) == (seeds == 1)
        assert ("no difference between the architectures is shown" in text) == (seeds > 1)
        assert "nan" not in text
    assert modules["figures"].forest_svg(told.study).count("without ") >= 10


def test_an_architecture_that_knows_nothing_makes_them_differ(repeated):
    found = repeated(3, broken=True).differ
    assert [one.verdict for one in found] == ["the architectures differ"] * 3
    # nine at 80 % and one at 0 spread by 80 / √10
    assert 100 * found[0].found.sd == pytest.approx(80 / 10**0.5, abs=1)


def test_another_study_is_refused(modules, tmp_path):
    name = modules["pages"].studies(EVIDENCE)[-1]
    other = next(one for one in modules["tables"].NAMES if one != name)
    (tmp_path / other).symlink_to(EVIDENCE / name)
    with pytest.raises(modules["pages"].LayerLotteryError, match=f"{other}: datasets is not that of"):
        modules["tables"].Study.read(tmp_path / other)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"fine_tuning": {"epochs": 2}}, "fine_tuning is not that of"),
        ({"attack": {"images": 3}}, "attack is not that of"),
        ({"studies": [{"seeds": [4]}]}, "seeds are not the first of"),
    ],
)
def test_other_settings_and_chosen_seeds_are_refused(modules, study, monkeypatch, part, said):
    def changed(value, other):
        if isinstance(value, dict):
            return value | {key: changed(value.get(key), one) for key, one in other.items()}
        if isinstance(value, list) and other and isinstance(other[0], dict):
            return [changed(value[0], other[0]), *value[1:]]
        return other

    tables = modules["tables"]
    load, calls = tables.load_benchmark, iter([part, {}])
    monkeypatch.setattr(tables, "load_benchmark", lambda values: load(changed(values, next(calls))))
    with pytest.raises(modules["pages"].LayerLotteryError, match=f"{study.name}: {said}"):
        tables.Study.read(EVIDENCE / study.name)


def test_without_a_study_it_is_said(modules, tmp_path):
    with pytest.raises(modules["pages"].LayerLotteryError, match="found no study; allowed: one of cifar10, digits"):
        modules["pages"].written(tmp_path)


@pytest.fixture
def copied(modules, tmp_path):
    """A copy of the evidence, to damage, and its last study's name."""
    shutil.copytree(EVIDENCE, tmp_path / "evidence")
    return tmp_path / "evidence", modules["pages"].studies(EVIDENCE)[-1]


def test_a_table_of_another_study_is_refused(modules, copied):
    evidence, name = copied
    first, *_ = modules["pages"].studies(EVIDENCE)
    assert first != name
    shutil.copyfile(evidence / first / "tables" / "summary.parquet", evidence / name / "tables" / "summary.parquet")
    with pytest.raises(LayerLotteryError, match=rf"{name}.*summary\.parquet.*git checkout docs/evidence brings back"):
        modules["pages"].written(evidence)


def test_a_study_without_its_manifest_is_missed(modules, copied):
    evidence, name = copied
    (evidence / name / "manifest.json").unlink()
    with pytest.raises(LayerLotteryError, match=rf"{name}.*manifest\.json"):
        modules["pages"].written(evidence)


def test_a_full_disk_leaves_the_study_that_was_there(modules, copied, tmp_path, monkeypatch):
    evidence, name = copied
    there = {path: path.read_bytes() for path in sorted((evidence / name).rglob("*")) if path.is_file()}
    taken = tmp_path / "results"
    shutil.copytree(evidence / name, taken)

    def full(source, target):
        if str(source).endswith(name):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))

    with monkeypatch.context() as patched:
        patched.setattr(modules["pages"].shutil, "copytree", full)
        with pytest.raises(OSError, match="No space"):
            modules["pages"].take(taken, name, evidence)
    assert there == {path: path.read_bytes() for path in sorted((evidence / name).rglob("*")) if path.is_file()}
    modules["pages"].take(taken, name, evidence)
    assert there == {path: path.read_bytes() for path in sorted((evidence / name).rglob("*")) if path.is_file()}
