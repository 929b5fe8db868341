"""Files of an image folder that are not read: which, and who hears of it."""

import json
import logging
import os
import re

import numpy as np
import pytest
from PIL import Image

from layerlottery.config.data import ImageFolder, ParquetImages, TorchvisionImages
from layerlottery.data.folder import load_folder
from layerlottery.data.parquet import load_parquet
from layerlottery.data.prepare import prepare
from layerlottery.data.torchvision_sets import load_torchvision
from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts

PIXELS = np.random.default_rng(4).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


def put(path, pixels=PIXELS[0], kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, kind)


@pytest.fixture
def place(tmp_path):
    for part in ("train", "test"):
        for at, label in enumerate(("ant", "bee")):
            put(tmp_path / part / label / "1.png", PIXELS[at])
    return tmp_path


def prepared(place, **changes):
    """The facts of the prepared set."""
    prepare(ImageFolder(source="folder", location=str(place), **changes), place / "set")
    return artifacts.read_facts(place / "set/facts.json")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jfif", "JPEG"),
        ("b.JPE", "JPEG"),
        ("c.Avif", "AVIF"),
        ("d.PNM", "PPM"),
        ("e.tiff", "TIFF"),
        ("f.jpg", "AVIF"),
    ],
)
def test_all_suffixes_of_the_formats_that_are_read(place, name, kind):
    put(place / "train/ant" / name, PIXELS[3], kind)
    held = load_folder(ImageFolder(source="folder", location=str(place))).train
    expected = np.asarray(Image.open(place / "train/ant" / name).convert("RGB"))
    assert len(held) == 3
    assert np.array_equal(held.images[1], expected.transpose(2, 0, 1))


def unread(folder, name):
    put(folder / "x.png")
    (folder / "x.png").rename(folder / name)


def nowhere(folder, name):
    (folder / name).symlink_to("../../objects/gone")


def itself(folder, name):
    (folder / name).symlink_to(name)


LOST = {
    "heic": (unread, "ant/p.HEIC", "of a type that is not read"),
    "tga": (unread, "bee/p.tga", "of a type that is not read"),
    "no suffix": (unread, "bee/img001", "of a type that is not read"),
    "a backup": (unread, "ant/1.png~", "of a type that is not read"),
    "git-annex": (nowhere, "ant/p.png", "link that leads nowhere"),
    "a class that is a lost link": (nowhere, "cow", "link that leads nowhere"),
    "a link to itself": (itself, "bee/p.jpg", "link that leads nowhere"),
    "a pipe": (lambda folder, name: os.mkfifo(folder / name), "ant/p.jpg", "neither file nor folder"),
    "a device": (lambda folder, name: (folder / name).symlink_to("/dev/zero"), "bee/p.bmp", "neither file nor folder"),
    "beside the classes": (unread, "stray.jpg", "in no class folder"),
    "hidden": (unread, "ant/.p.png", "hidden"),
}


@pytest.mark.parametrize(("make", "name", "reason"), LOST.values(), ids=LOST)
@pytest.mark.parametrize("part", ["train", "test"])
def test_what_is_left_out_is_counted_and_named(place, caplog, make, name, reason, part):
    caplog.set_level(logging.INFO, "layerlottery")
    make(place / part, name)
    facts = prepared(place)
    path = str(place / part / name)
    assert facts["counts"] | {"held_out": 0, "shifted": 0} == {"train": 2, "test": 2, "held_out": 0, "shifted": 0}
    assert facts["remarks"] == {reason: {"count": 1, "first": [path]}}
    assert [record.message for record in caplog.records if path in record.message] == [
        f"{place / 'set'}: not read as they are: 1 {reason} ('{path}')"
    ]
    with pytest.raises(LayerLotteryError, match=rf"^{re.escape(path)}: {reason}; strict allows only"):
        prepared(place, strict=True)


def test_many_are_one_line(place, caplog):
    for number in range(9):
        unread(place / "train/ant", f"p{number}.heif")
        nowhere(place / "test/bee", f"p{number}.png")
    facts = prepared(place)
    assert [noted["count"] for noted in facts["remarks"].values()] == [9, 9]
    [line] = [record.message for record in caplog.records if "not read" in record.message]
    assert line.count("9 ") >= 2
    assert line.count(".heif") == 3
    assert "\n" not in line


OF_SYSTEMS = [
    *("train/ant/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "train/@eaDir/1.jpg", "train/__MACOSX/ant/1.jpg"),
    *("test/ant/__MACOSX/1.png", "train/lost+found/1.png", "test/$RECYCLE.BIN/1.png", "train/.Trashes/1.png"),
    *("train/ant/._1.png", "train/._ant", "train/ant/.DS_Store", "test/bee/Thumbs.db", "train/bee/desktop.ini"),
    *("train/@Recycle/1.png", "train/ant/@__thumb/1.png", "train/#snapshot/1.png", "test/~snapshot/ant/1.png"),
    *("train/FOUND.000/1.png", "train/ant/__pycache__/1.png", "train/Temporary Items/1.png"),
    *("train/ant/boxes.txt", "train/labels.csv", "test/ant/1.json"),
]


@pytest.mark.parametrize("name", OF_SYSTEMS)
def test_what_systems_and_texts_leave_is_no_image(place, caplog, name):
    put(place / name)
    facts = prepared(place, strict=True)
    assert (facts["classes"], facts["counts"]["train"], facts["counts"]["test"]) == (["ant", "bee"], 2, 2)
    assert "remarks" not in facts
    assert not any("not read" in record.message for record in caplog.records)


@pytest.mark.parametrize("present", [["ant"], ["bee"], []])
def test_test_and_shifted_folders_may_lack_classes(place, present):
    put(place / "train/cow/1.png", PIXELS[5])
    (place / "dusk").mkdir()
    for label in present:
        put(place / "dusk" / label / "1.png", PIXELS[6])
    (place / "dusk/cow").mkdir()
    if not present:
        with pytest.raises(LayerLotteryError, match="dusk: holds no images"):
            load_folder(ImageFolder(source="folder", location=str(place), shifted={"dusk": "dusk"}))
        return
    held = load_folder(ImageFolder(source="folder", location=str(place), shifted={"dusk": "dusk"}))
    assert held.classes == ("ant", "bee", "cow")
    assert held.test.labels.tolist() == [0, 1]
    assert [held.classes[label] for label in held.shifted["dusk"].labels] == present


def test_an_annotated_test_set_may_lack_classes(place):
    put(place / "train/cow/1.png", PIXELS[5])
    put(place / "val/images/v.png", PIXELS[6])
    (place / "val/val_annotations.txt").write_text("v.png\tbee\n")
    (place / "val/list").write_text("v.png\tant\n")
    for name, label in (("val_annotations.txt", 1), ("list", 0)):
        changes = {"test": "val", "annotations": name, "strict": name == "list"}
        held = load_folder(ImageFolder(source="folder", location=str(place), **changes))
        assert held.test.labels.tolist() == [label]


def test_a_class_whose_images_are_all_left_out_says_which(place):
    for number in range(2):
        unread(place / "train/ape", f"{number}.heic")
    with pytest.raises(LayerLotteryError, match=r"ape: holds no images .*; left out: 2 of a type .*0\.heic.*1\.heic"):
        prepared(place)


# what stands in a file's place


def sparse(path):
    with path.open("wb") as target:
        target.write(b"\xff\xd8\xff\xe0")
        target.truncate(30 << 30)


def test_a_file_of_gigabytes_is_not_read(place):
    sparse(place / "train/ant/0.jpg")
    with pytest.raises(LayerLotteryError, match=rf"0\.jpg: found {30 << 30} bytes; allowed: {1 << 29} or fewer"):
        prepared(place)
    (place / "train/ant/0.jpg").unlink()
    sparse(place / "test/val_annotations.txt")
    for label in ("ant", "bee"):
        (place / "test" / label).rename(place / "test" / f"{label}s")
    with pytest.raises(LayerLotteryError, match=r"val_annotations\.txt: found \d+ bytes"):
        prepared(place)


def test_a_folder_called_like_an_image_may_hold_some(place):
    put(place / "train/ant/0.png/2.png", PIXELS[5])
    (place / "train/bee/0.png").mkdir()
    held = load_folder(ImageFolder(source="folder", location=str(place))).train
    assert np.array_equal(held.images[0], PIXELS[5].transpose(2, 0, 1))
    assert len(held) == 3


IN_PLACE = {"a named pipe": os.mkfifo, "a device": lambda path: path.symlink_to("/dev/zero"), "a folder": os.mkdir}


@pytest.mark.parametrize(("kind", "make"), IN_PLACE.items())
def test_no_file_of_a_set_may_be_anything_else(tmp_path, kind, make):
    make(tmp_path / "train.parquet")
    with pytest.raises(LayerLotteryError, match=rf"train\.parquet: found {kind}; allowed: a regular file"):
        load_parquet(ParquetImages(source="parquet", location=str(tmp_path)))
    make(tmp_path / "cifar-10-binary.tar.gz")
    with pytest.raises(LayerLotteryError, match=rf"tar\.gz: found {kind}; allowed: a regular file"):
        load_torchvision(TorchvisionImages(source="torchvision", set="CIFAR10", location=str(tmp_path), download=False))


# where it lies


@pytest.mark.parametrize("location", ["~/sets", "~"])
def test_a_home_folder_is_found(place, monkeypatch, location):
    monkeypatch.setenv("HOME", str(place.parent if location == "~/sets" else place))
    if location == "~/sets":
        (place.parent / "sets").symlink_to(place)
    assert len(load_folder(ImageFolder(source="folder", location=location)).train) == 2
    here = ImageFolder(source="folder", location="/", train=f"{location}/train", test=f"{location}/test")
    assert len(load_folder(here).train) == 2
    for where in ({"location": location}, {"location": "/", "train": f"{location}/train.parquet"}):
        with pytest.raises(LayerLotteryError, match=rf"^{place.parent}/.*train\.parquet: no such file"):
            load_parquet(ParquetImages(source="parquet", **where))
    with pytest.raises(LayerLotteryError, match=rf"^{place.parent}/.*cifar-10-binary\.tar\.gz: no such file"):
        load_torchvision(TorchvisionImages(source="torchvision", set="CIFAR10", location=location, download=False))


def test_nobody_s_home_is_named():
    with pytest.raises(LayerLotteryError, match=r"~nobody-here/train: no such folder"):
        load_folder(ImageFolder(source="folder", location="~nobody-here"))


def test_facts_stay_json(place):
    unread(place / "train/ant", os.fsdecode(b"\xff\n.heic"))
    assert prepared(place)["remarks"]["of a type that is not read"]["count"] == 1
    json.loads((place / "set/facts.json").read_bytes())


def test_a_class_may_be_called_like_a_mark(place):
    for part, pixels in (("train", PIXELS[0]), ("test", PIXELS[1])):
        for label in ("#1", "@home", "~x", "$100"):
            put(place / part / label / "1.png", pixels)
    assert prepared(place)["classes"] == ["#1", "$100", "@home", "ant", "bee", "~x"]
