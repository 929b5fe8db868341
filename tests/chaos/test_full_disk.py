"""A disk that is full, at every stage: one line that names the file, nothing half written, and then it simply goes on.

The disk is a small tmpfs, so these tests need the right to mount one.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.chaos.commands import complaint, every_rule
from tests.chaos.conftest import WIDE
from tests.workflow.project import snapshot

from layerlottery.upkeep.diff import differences
from layerlottery.upkeep.verify import verify

pytestmark = pytest.mark.chaos

FULL = "No space left on device"
KIB = 1024


class Disk:
    """A small disk whose free space can be set."""

    def __init__(self, folder):
        self.folder = folder
        self.ballast = folder / "ballast"
        self.ballast.touch()

    def free(self):
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize

    def leave(self, kib):
        """Fill it up, but for so much."""
        with self.ballast.open("r+b") as file:
            size = self.ballast.stat().st_size + self.free() - kib * KIB
            assert size > 0
            file.truncate(size)
            os.posix_fallocate(file.fileno(), 0, size)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leftovers(folder):
    return [path for path in folder.rglob(".*") if path.name not in (".lock", ".snakemake_timestamp")]


def test_every_stage_names_the_file_that_it_has_no_room_for(finished, disk, monkeypatch):
    shutil.copytree(finished.results, disk.folder / "results")
    # the commands name their files relative to the project's folder
    monkeypatch.chdir(disk.folder)
    disk.leave(0)
    before = snapshot(disk.folder / "results")
    for job in every_rule(finished).values():
        words = [str(finished.root / word) if word == job.log else word for word in job.words]
        said = complaint(words)
        lines = [line for line in said.splitlines() if line.startswith("layerlottery: ")]
        names = [f"layerlottery: {name}: {FULL}" for name in (*job.outputs, *on_the_way(job))]
        assert len(lines) == 1, (job.rule, said)
        assert lines[0] in names, (job.rule, said)
        assert "Traceback" not in said
        assert leftovers(disk.folder) == [], job.rule
    assert snapshot(disk.folder / "results") == before


def on_the_way(job):
    """Files of a training that Snakemake does not know."""
    if "--checkpoint" not in job.words:
        return []
    checkpoint = Path(job.words[job.words.index("--checkpoint") + 1])
    return [
        checkpoint,
        checkpoint.with_suffix(".segments.json"),
        checkpoint.with_suffix("") / "kept/epoch=1.safetensors",
    ]


def test_a_log_that_can_not_be_written_leaves_no_traceback(finished, disk, monkeypatch):
    monkeypatch.chdir(finished.root)
    job = every_rule(finished)["aggregate"]
    disk.leave(0)
    log = disk.folder / "aggregate.log"
    words = [str(log) if word == job.log else word for word in job.words]
    ran = finished.call("layerlottery", *words)
    assert "Logging error" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count(f"{log}: {FULL}") == 1


def complaints(ran):
    return [line for line in (ran.stdout + ran.stderr).splitlines() if FULL in line]


@pytest.mark.parametrize("own_records", [False, True], ids=["results on it", "all on it"])
def test_a_benchmark_goes_on_as_space_is_freed(finished, cloned, disk, tmp_path, own_records):
    config = WIDE | {"results": str(disk.folder / "results")}
    project = cloned(disk.folder / "clone" if own_records else tmp_path / "clone", config)
    results = disk.folder / "results"
    # all of it needs 2 MiB
    for kib in (8, 120, 300, 600):
        disk.leave(kib)
        ran = project.snakemake("--cores", "2", "--keep-going")
        text = ran.stdout + ran.stderr
        assert ran.returncode != 0, text
        assert complaints(ran), text
        # Snakemake says so of its own log
        assert own_records or "Logging error" not in text
        if not own_records:
            assert all(str(results) in line for line in complaints(ran)), complaints(ran)
            assert "Traceback" not in text
        if results.is_dir():
            found = verify(results)
            # a half prepared set has no facts yet: Snakemake without room for its records may leave it behind
            assert found.damaged == {}, kib
            assert found.leftovers == []
            assert own_records or found.good, (kib, found)
    disk.leave(4 * KIB)
    ran = project.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert differences(results / "tables", finished.results / "tables") == []
    assert verify(results).good
