"""Two criteria that remove the same blocks: their network is trained once, whichever of them comes first."""

import pandas as pd
import pytest
from tests.workflow.project import FIRST, TINY, clone

from layerlottery.store.artifacts import read_tensors

pytestmark = pytest.mark.slow

# the same formula under another name
ALIKE = TINY | {
    "criteria": TINY["criteria"] | {"again": {"function": "l1", "images_per_class": 1}},
    "studies": [FIRST | {"criteria": ["l1", "again"]}],
}
SAME = [
    "accuracy",
    "delta_accuracy",
    "macs",
    "train_seconds",
    "energy_kwh",
    "co2_kg",
    "started",
    "ended",
    "config_hash",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    found = clone(tmp_path_factory.mktemp("alike"))
    found.write(ALIKE)
    ran = found.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stderr
    return found


@pytest.fixture(scope="module")
def runs(project):
    return pd.read_parquet(project.results / "tables" / "runs.parquet").set_index("criterion")


def test_one_training_has_two_rows(project, runs):
    copied = runs["copied_from"].notna()
    assert copied.loc[["l1", "again"]].sum() == 1
    assert runs.loc["l1", SAME].equals(runs.loc["again", SAME])
    logs = [path.read_text() for path in (project.results / "logs" / "train").rglob("*.log")]
    assert len(logs) == 3
    assert sum("epoch 2" in text or "2/2" in text for text in logs) == 2
    files = [next(project.results.rglob(f"criterion={name}/**/weights.safetensors")) for name in ("l1", "again")]
    first, second = (read_tensors(path) for path in files)
    assert {name: one.tobytes() for name, one in first[0].items()} == {
        name: one.tobytes() for name, one in second[0].items()
    }
    assert first[1] == second[1]


def test_the_rows_say_so_in_the_order_of_the_configuration(project, runs):
    # whichever was trained
    assert runs["same_as"].dropna().to_dict().keys() == {"again"}
    assert "criterion=l1" in runs.loc["again", "same_as"]
    said = project.call("layerlottery", "summary")
    assert "identical to l1, 1 removed" in said.stdout, said.stdout + said.stderr
    page = (project.results / "report" / "index.html").read_text()
    assert "distinct networks, under 3 names" in page
    assert ">identical to</th>" in page


def test_plan_verify_and_stale_know_it(project):
    planned = project.call("layerlottery", "plan", "--configfile", "tiny.yaml")
    assert "2 of 3 are distinct; the same training is done once" in planned.stdout, planned.stdout + planned.stderr
    assert project.call("layerlottery", "verify").returncode == 0
    assert "0 files" in project.call("layerlottery", "stale", "--configfile", "tiny.yaml").stdout
    assert project.jobs() == {}


def test_a_copy_is_made_again_from_what_is_there(project, runs):
    copy = runs.index[runs["copied_from"].notna()][0]
    folder = next(project.results.rglob(f"criterion={copy}/**/weights.safetensors")).parent
    (folder / "weights.safetensors").unlink()
    ran = project.snakemake(str((folder / "weights.safetensors").relative_to(project.root)))
    assert ran.returncode == 0, ran.stderr
    assert (
        "results are copied"
        in next((project.results / "logs").rglob(f"train/**/criterion={copy}/**/*.log")).read_text()
    )
