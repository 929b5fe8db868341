"""Every benchmark runs to its end in a smallest form, so that no change elsewhere breaks one unseen."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.workflow.conftest import finished, forked, grown  # noqa: F401
from tests.workflow.project import ROOT, TINY, Project

pytestmark = pytest.mark.slow

FOLDER = ROOT / "benchmarks"
# run by others, or below in a process of its own
PARTS = {"criteria_loops", "rounding", "rows", "training_recipes", "performance", "pipeline_speed", "readme"}
PARTS |= {"evidence", "evidence_figures", "evidence_tables", "evidence_words"}
MISSED = re.compile(r"a goal is missed|the goal, .* is missed")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a benchmark with these words and smaller constants; what it prints."""
    monkeypatch.syspath_prepend(FOLDER)

    def run(name, *words, **smaller):
        module = importlib.import_module(name)
        for constant, value in smaller.items():
            monkeypatch.setattr(module, constant, value)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        try:
            module.main()
        except SystemExit as done:
            assert MISSED.fullmatch(str(done.code)), done.code  # noqa: PT017
        return capsys.readouterr().out

    return run


SMALLEST = {
    "corruption_speed": (["--images", 64, "--plain-images", 2, "--rounds", 1, "--names", "fog", "snow"], {}),
    "criteria_speed": (["--turns", 1], {"IMAGES": 40}),
    "growth": (
        ["--turns", 1],
        {"DEPTHS": (8, 20), "REMOVED": (0, 6), "IMAGES": (64, 128), "STREAMED": (64, 128), "SEEDS": (1, 2)},
    ),
    "precision scoring": (["scoring", "--seeds", 1], {}),
    "robustness_speed": (
        ["--shares", 1, "--parts", "corruptions", "pgd", "transfer"],
        {"CORRUPTED": 20, "ATTACKED": 4},
    ),
    "scale_aggregate": (["--networks", 20], {"SEEDS": range(2), "EPOCHS": 2}),
    "scale_dag": (["--networks", 1, "--done"], {"NETWORKS": ["resnet32"], "CRITERIA": ["l1", "l1_mean"]}),
    "several_processes": (["--turns", 1, "--batches", 32], {"EPOCHS": 1, "IMAGES": 64}),
    "streaming": (["--turns", 1, "--only", "speed"], {"COUNT": 64, "SIDE": 32, "DISTINCT": 4}),
}
# a line that shows that it came to its end
SHOWN = {
    "corruption_speed": "total ",
    "criteria_speed": "the four together |",
    "growth": "Planning: ",
    "precision scoring": "| all | ",
    "robustness_speed": "together: ",
    "scale_aggregate": "networks: ",
    "scale_dag": " networks,",
    "several_processes": "one training, 2 processes against 1",
    "streaming": "two threads against two worker processes",
}


def test_every_benchmark_is_run_here():
    run_here = (
        {name.split()[0] for name in SMALLEST} | PARTS | {"cuttable", "headline", "training_speed", "verdict_errors"}
    )
    assert run_here == {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("name", SMALLEST)
def test_it_runs(run, name):
    words, smaller = SMALLEST[name]
    assert SHOWN[name] in run(name.split()[0], *words, **smaller)


def test_evaluation_in_reduced_precision(run):
    recipe = importlib.import_module("precision").RECIPE
    shown = run("precision", "evaluation", "--seeds", 1, RECIPE=recipe.model_copy(update={"epochs": 1}), OUTLIERS=20)
    assert "| clean bfloat16: accuracy, pp | mean " in shown


def test_what_can_be_cut(run, tmp_path):
    pytest.importorskip("timm")
    shown = run("cuttable", "--only", "torchvision.resnet18", "--output", tmp_path / "page.md")
    assert "| `torchvision.resnet18` | 11.7 M | 3x224x224 | 8 | 5 | 51 % | its removal changes a shape |" in shown
    assert shown.strip() in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_memory_of_streaming(run, tmp_path):
    for step in ("write", "prepare", "stream"):
        assert float(run("streaming", step, tmp_path, 40, DISTINCT=4)) > 0


def test_both_recipes(run, tmp_path):
    from layerlottery.config.data import Digits
    from layerlottery.data.prepare import prepare

    recipes = importlib.import_module("training_recipes")
    prepare(Digits(source="digits", train_size=256, test_size=50), tmp_path)
    given = {"seed": 0, "epochs": 1, "count": 128}
    ours = recipes.Ours("digits", tmp_path, **given)
    theirs = recipes.Conventional("digits", tmp_path, workers=0, **given)
    for side in (ours, theirs):
        assert side.steps() > 0
        assert 0 <= side.whole() <= 100
    assert ours.convolutions(0.01) > 0
    assert ours.products() in ("float32", "bfloat16")
    assert recipes.matrix_rate(seconds=0.01) > 0
    assert set(recipes.resident()) == {"peak", "file-backed", "proportional"}


def test_speed_of_training(run, tmp_path):
    shown = run("training_speed", "--parts", "tickets", "--turns", 1, TRAIN=256, TEST=20)
    assert "a ticket's time, 6 of 15 blocks removed | goal within 5 %" in shown
    speed = importlib.import_module("training_speed")
    rivals = {(tuned, workers): 10.0 for tuned in (False, True) for workers in (0, speed.CORES)}
    taken = [speed.Turn(ours=30.0, rivals=rivals, other_type=20.0, convolutions=40.0, product=100.0)]
    assert speed.against_conventional("cifar", taken, 2.5).measured.startswith("3.00 x")
    assert speed.against_float32(taken).figures["ratio"] == 1.5
    assert speed.against_products(taken, "float32").figures["percent"] > 0
    assert "GiB" in speed.memory([importlib.import_module("training_recipes").resident()]).measured


def test_errors_of_verdicts(run):
    errors = importlib.import_module("verdict_errors")
    small = replace(errors.DIGITS, images=50, networks=3)
    shown = run("verdict_errors", "--repeats", 2, SCENARIOS=(small,), POWERED=(replace(small, effect=-3.0),))
    assert "| O'Brien and Fleming |" in shown


def test_headline(run, grown):  # noqa: F811
    assert "| headline | " in run("headline", "--results", grown.results, "--seeds", 1, "--repeats", 2)


def test_the_pipeline(tmp_path):
    project = Project(tmp_path)
    project.write(TINY)
    words = ["--only", "help", "--only", "rerun", "--only", "overhead", "--cores", "1", "--output", "found.json"]
    program = [sys.executable, FOLDER / "pipeline_speed.py", *words, "--", "--configfile", tmp_path / "tiny.yaml"]
    ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0 or ran.stderr == "a goal is missed\n", ran.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["overhead"]["jobs"] == 18
    assert found["overhead"]["wall"]["ratio"] > 0


def test_the_page_of_performance(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    row = {"what": "planted", "goal": ">= 2 x", "measured": "1 x", "met": False, "figures": {}}
    (tmp_path / "training.json").write_text(json.dumps([row]))
    (tmp_path / "training.minutes").write_text("1.5")
    shown = run("performance", "--only", "training", "--folder", tmp_path)
    assert "| planted | >= 2 x | 1 x | **missed** |" in shown


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_readme(run, finished, tmp_path):  # noqa: F811
    page, picture = tmp_path / "first_hour.md", tmp_path / "report.png"
    shutil.copy(ROOT / "docs" / "first_hour.md", page)
    run("readme", "--results", finished.results, PAGE=page, DEMO=tmp_path / "demo", PICTURE=picture)
    assert "2 networks on " in page.read_text(encoding="utf-8")
    assert picture.exists()
