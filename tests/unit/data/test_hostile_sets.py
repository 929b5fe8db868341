"""No file of an image set can run code or end in a traceback, whatever stands in its place."""

import io
import json
import os
import shlex
import shutil
import tarfile

import pyarrow as pa
import pytest
from PIL import Image
from tests.unit import hostile, official_files
from tests.unit.hostile import marker, problems, refusal

from layerlottery.data.download import Published
from layerlottery.data.official_classes import CIFAR10
from layerlottery.data.pixels import Form, decode
from layerlottery.data.published import FILES, OFFICIAL
from layerlottery.errors import LayerLotteryError

__all__ = ["marker"]


def prepare(location, tmp_path, **settings):
    settings = {"location": str(location)} | settings
    return ["layerlottery", "prepare", "--settings", json.dumps(settings), "--output", str(tmp_path / "out")]


def test_hostile_parquet_sets(tmp_path, marker):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    rows = [{"image": {"bytes": image.getvalue(), "path": None}, "label": i % 2} for i in range(777)]
    words = prepare(tmp_path, tmp_path, source="parquet")
    for name in ("train.parquet", "test.parquet"):
        hostile.pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    payloads = hostile.tables(marker, pa.Table.from_pylist(rows))
    found = problems(words, f"{tmp_path}/train.parquet", payloads, marker)
    assert [name for name, _ in found if name != "python type"] == []
    assert not any(reason == "ran code" for _, reason in found)


@pytest.fixture
def ghostscript(tmp_path, marker, monkeypatch):
    """A program under the name of the one that Pillow hands PostScript to."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {shlex.quote(str(marker))}\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_hostile_images_in_a_folder(tmp_path, marker, ghostscript):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (8, 8), 50).save(tmp_path / part / name / "one.png")
    words = prepare(tmp_path, tmp_path, source="folder")
    assert problems(words, f"{tmp_path}/train/b/one.png", hostile.images(marker), marker) == []


def test_hostile_images_in_parquet(tmp_path, marker, ghostscript):
    words = prepare(tmp_path, tmp_path, source="parquet")
    for name, content in hostile.images(marker).items():
        table = pa.Table.from_pylist([{"image": {"bytes": content, "path": "/etc/passwd"}, "label": 0}])
        for part in ("train", "test"):
            hostile.pq.write_table(table, tmp_path / f"{part}.parquet")
        assert refusal(words, f"{tmp_path}/train.parquet: image in row 0") is None, name
        assert not marker.exists(), name


def test_a_small_file_that_claims_a_large_image_is_not_decoded():
    with pytest.raises(LayerLotteryError, match=r"^one: not a readable image \(DecompressionBombWarning\)$"):
        decode(hostile.png(10_000, 10_000), Form(8, 3), "one")


def test_pickled_cifar_is_never_opened(tmp_path, marker):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(hostile.pickles(marker)["pickle"])
    words = prepare(tmp_path, tmp_path, source="torchvision", set="CIFAR10", download=False)
    assert refusal(words, folder) is None
    shutil.move(folder, tmp_path / "moved")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(tmp_path / "moved", "cifar-10-batches-py")
    assert refusal(words, archive) is None
    assert not marker.exists()


def test_members_of_an_archive_never_reach_the_disk(tmp_path, monkeypatch, marker):
    archive = tmp_path / "set" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as target:
        for name in (str(marker), "../marker", "set/../../marker"):
            target.addfile(tarfile.TarInfo(name), io.BytesIO())
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        target.addfile(link)
    file = Published("https://localhost/gone", archive.stat().st_size, hostile.seals.file_digest(archive))
    monkeypatch.setitem(FILES, "CIFAR10", {archive.name: file})
    words = prepare(archive.parent, tmp_path, source="torchvision", set="CIFAR10")
    assert refusal(words, archive) is None
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cifar-10-binary.tar.gz", "set"]


@pytest.mark.parametrize("name", ["CIFAR-10.1", "CIFAR-10.2"])
def test_hostile_published_test_sets(tmp_path, marker, monkeypatch, name):
    for part in ("train", "test"):
        for number, label in enumerate(CIFAR10):
            (tmp_path / part / label).mkdir(parents=True)
            Image.new("RGB", (8, 8), (number, 50, 90)).save(tmp_path / part / label / "one.png")
    words = prepare(tmp_path, tmp_path, source="folder", official={"sets": [name], "location": str(tmp_path)})
    assert refusal(words, next(iter(OFFICIAL[name])).join([f"{tmp_path}/", ": no such file"])) is None
    for kind, content in hostile.arrays(marker).items():
        official_files.publish(monkeypatch, name, [content] * len(OFFICIAL[name]))
        for file in OFFICIAL[name]:
            (tmp_path / file).write_bytes(content)
        assert refusal(words, tmp_path / next(iter(OFFICIAL[name]))) is None, kind
        assert not marker.exists(), kind
