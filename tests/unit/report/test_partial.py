"""A report while a benchmark runs: of the networks that are finished, and it says so."""

import shutil

import pytest
from tests.unit.results_folder import DENSE, TICKETS, results
from tests.unit.tables.by_hand import STUDIES

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.errors import LayerLotteryError
from layerlottery.report.partial import partial_report

__all__ = ["results"]


@pytest.fixture
def half(results, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(results, folder)
    shutil.rmtree(folder / "tables", ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def benchmark():
    return Benchmark.model_validate({"datasets": {"digits": {"source": "digits"}}, "studies": STUDIES})


def test_it_covers_what_is_finished(half, benchmark):
    total = len(benchmark.runs())
    assert (
        partial_report(half, benchmark, benchmark.report, half / "whole.html")
        == f"Partial: {total} of {total} networks are finished"
    )
    (half / paths.shift(TICKETS[1].folder)).unlink()
    said = partial_report(half, benchmark, benchmark.report, half / "part.html")
    assert said == f"Partial: {total - 1} of {total} networks are finished"
    shown = (half / "part.html").read_text(encoding="utf-8")
    assert f"{said}." in shown
    # nothing is left behind but the page and its networks' pages
    assert not (half / "tables").exists()


def test_costs_may_be_missing_while_other_networks_are_profiled(half, benchmark):
    (half / paths.profile(DENSE[0].folder)).unlink()
    total = len(benchmark.runs())
    said = partial_report(half, benchmark, benchmark.report, half / "part.html")
    assert said == f"Partial: {total} of {total} networks are finished"
    assert "nan" not in (half / "part.html").read_text(encoding="utf-8").split("<script")[0].lower().split()


def test_errors_name_the_results(half, benchmark):
    (half / paths.training_facts(DENSE[0].folder)).write_text("{", encoding="utf-8")
    with pytest.raises(LayerLotteryError, match=f"^{half}/"):
        partial_report(half, benchmark, benchmark.report, half / "part.html")


def test_a_ticket_goes_with_its_dense_network(half, benchmark):
    (half / paths.shift(DENSE[0].folder)).unlink()
    total = len(benchmark.runs())
    assert partial_report(half, benchmark, benchmark.report, half / "part.html") == (
        f"Partial: {total // 2} of {total} networks are finished"
    )


def test_nothing_finished_is_one_line(half, benchmark):
    for run in DENSE:
        (half / paths.training_facts(run.folder)).unlink()
    with pytest.raises(LayerLotteryError, match=r"0 of .* networks are finished, so there is no report yet"):
        partial_report(half, benchmark, benchmark.report, half / "part.html")
    assert not (half / "part.html").exists()
