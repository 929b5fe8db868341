"""Two Snakemakes in one results folder: the second gives way, a dry run disturbs nobody, a dead one blocks nobody."""

import signal
from types import SimpleNamespace

import pytest
from tests.chaos.processes import LONGEST, background, held_still, wait_for
from tests.workflow.project import TINY, snapshot

from layerlottery.store.lock import held
from layerlottery.upkeep.diff import differences
from layerlottery.upkeep.verify import verify

pytestmark = pytest.mark.chaos


def shared(root):
    """A configuration whose results lie outside of any clone."""
    return TINY | {"results": str(root / "shared" / "results")}


def everything(*folders):
    """Every file that a second Snakemake could spoil; its logs and its cache of file dates spoil nothing."""
    harmless = (".snakemake/log/", ".snakemake/iocache/")
    files = ((folder, *one) for folder in folders for one in snapshot(folder).items())
    return {(folder, name): content for folder, name, content in files if not name.startswith(harmless)}


@pytest.fixture(scope="module")
def met(cloned, tmp_path_factory):
    """A running Snakemake, held still while others come: from its own folder, from another clone, and dry."""
    root = tmp_path_factory.mktemp("met")
    first, other = (cloned(root / name, shared(root)) for name in ("first", "other"))
    results = root / "shared" / "results"
    met = SimpleNamespace(results=results)
    with background(first, root / "output.txt") as running:
        wait_for(lambda: list(results.glob("checkpoints/**/*.lock")), running)
        with held_still(first.root):
            met.pid, met.before = running.pid, everything(first.root, results)
            met.same, met.other, met.dry = first.snakemake(), other.snakemake(), first.snakemake("--dry-run")
            met.after = everything(first.root, results)
        met.status = running.wait(LONGEST)
    met.output = (root / "output.txt").read_text()
    return met


@pytest.mark.parametrize("clone", ["same", "other"])
def test_a_second_snakemake_stops_with_one_line_about_the_first(met, clone):
    ran = getattr(met, clone)
    lines = [line for line in ran.stderr.splitlines() if "in use by another benchmark" in line]
    assert ran.returncode != 0
    assert len(lines) == 1, ran.stderr
    assert lines[0].startswith(f"layerlottery: {met.results}: in use by another benchmark (process {met.pid} on ")
    assert "Traceback" not in ran.stderr
    assert "--unlock" not in ran.stderr


def test_a_dry_run_tells_what_is_left_to_do(met):
    assert met.dry.returncode == 0, met.dry.stderr
    assert "train_dense" in met.dry.stdout + met.dry.stderr


def test_nobody_changes_a_file_of_the_first(met):
    changed = {key for key in met.before | met.after if met.before.get(key) != met.after.get(key)}
    assert changed == set()


def test_the_first_goes_on_and_ends_well(met):
    assert met.status == 0, met.output
    assert verify(met.results).good
    assert not held(met.results)


def test_after_a_kill_another_clone_goes_on_at_once(cloned, tmp_path, met):
    first, other = (cloned(tmp_path / name, shared(tmp_path)) for name in ("first", "other"))
    results = tmp_path / "shared" / "results"
    with background(first, tmp_path / "output.txt") as running:
        wait_for((results / "networks").exists, running)
        running.send_signal(signal.SIGKILL)
        running.wait()
        ran = other.snakemake()
    assert ran.returncode == 0, ran.stderr
    assert "--unlock" not in ran.stderr
    assert differences(results / "tables", met.results / "tables") == []
    assert verify(results).good


def test_after_a_kill_the_same_folder_goes_on_at_once(cloned, tmp_path, met):
    project = cloned(tmp_path / "clone", shared(tmp_path))
    results = tmp_path / "shared" / "results"
    with background(project, tmp_path / "output.txt") as running:
        wait_for((results / "networks").exists, running)
        running.send_signal(signal.SIGKILL)
        running.wait()
        ran = project.snakemake()
    assert ran.returncode == 0, ran.stderr
    assert "--unlock" not in ran.stderr
    assert differences(results / "tables", met.results / "tables") == []
