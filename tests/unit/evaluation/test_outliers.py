import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerlottery.config.data import ImageFolder
from layerlottery.config.evaluation import OutlierSettings
from layerlottery.data.decode import Decoded
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import FACTS, PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation import outliers as stage
from layerlottery.store.arrays import read_array
from layerlottery.store.artifacts import read_facts

SIZE = 16
PLACES = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)


def make(data, folder, **settings):
    images, facts = folder / "outliers.npy", folder / "outliers.json"
    stage.outliers(data, images, facts, OutlierSettings(**settings))
    held = read_facts(facts)
    return read_array(images, held["array"]), held


def numbered(shift):
    """A colour image whose three channels name the place of each pixel, each in its own way."""
    channels = [(PLACES + shift) % 256, 255 - PLACES, (PLACES * 7 + shift) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def colour(tmp_path_factory):
    """A set of 16x16 colour images whose pixels are all different; image i of a class is shifted by i."""
    folder = tmp_path_factory.mktemp("colour")
    for split in ("train", "test"):
        for label in "ab":
            (folder / split / label).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(numbered(i)).save(folder / split / label / f"{i}.png")
    prepare(ImageFolder(source="folder", location=str(folder)), folder / "prepared")
    return folder / "prepared" / FACTS


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """Takes grey arrays for photographs, in place of the installed ones."""

    def plant(*photographs):
        files = []
        for i, photograph in enumerate(photographs):
            files.append(("planted", tmp_path / f"{i}.png"))
            Image.fromarray(photograph.astype(np.uint8)).save(files[-1][1])
        monkeypatch.setattr(stage, "photograph_files", lambda: files)

    return plant


def noise(low, high, size=100):
    return np.random.default_rng(low).integers(low, high, (size, size + 20))


ANY = noise(0, 256).astype(np.uint8)


def test_sets_stand_one_after_the_other_as_the_facts_say(bench, tmp_path):
    array, facts = make(bench.data, tmp_path, images=40)
    assert facts["sets"] == [
        {"name": "shuffled", "distance": "near", "start": 0, "end": 40},
        {"name": "photographs", "distance": "far", "start": 40, "end": 80},
    ]
    assert facts["data"] == bench.prepared.content
    assert (array.shape, array.dtype) == ((80, 1, 8, 8), np.uint8)


def test_each_set_is_the_same_whatever_stands_beside_it(bench, tmp_path):
    both, _ = make(bench.data, tmp_path / "both", images=20)
    photographs, _ = make(bench.data, tmp_path / "one", images=20, near=["photographs"], far=[])
    shuffled, facts = make(bench.data, tmp_path / "other", images=20, near=[], far=["shuffled"])
    assert np.array_equal(both, np.concatenate([shuffled, photographs]))
    assert facts["sets"] == [{"name": "shuffled", "distance": "far", "start": 0, "end": 20}]


def test_no_sets_make_an_empty_array(colour, tmp_path):
    array, facts = make(colour, tmp_path, near=[], far=[])
    assert array.shape == (0, 3, SIZE, SIZE)
    assert facts["sets"] == []


def test_shuffled_pixels_move_with_all_their_channels_each_image_in_its_own_order(colour, tmp_path):
    array, _ = make(colour, tmp_path, far=[])
    test = PreparedSet.open(colour).split("test").images
    assert len(array) == len(test) == 12
    orders = set()
    for shuffled, original in zip(array, test, strict=True):
        pixels = [tuple(pixel) for pixel in shuffled.reshape(3, -1).T.tolist()]
        known = {tuple(pixel): place for place, pixel in enumerate(original.reshape(3, -1).T.tolist())}
        order = tuple(known[pixel] for pixel in pixels)
        assert sorted(order) == list(range(SIZE * SIZE))
        # a random order leaves one pixel in its place on average
        assert sum(place == i for i, place in enumerate(order)) < 12
        orders.add(order)
    assert len(orders) == 12


def test_fewer_shuffled_images_are_balanced_over_classes_and_shuffled_as_before(bench, tmp_path):
    whole, _ = make(bench.data, tmp_path / "whole", far=[])
    part, _ = make(bench.data, tmp_path / "part", far=[], images=20)
    test = bench.prepared.split("test")
    found = [next(i for i, image in enumerate(whole) if np.array_equal(image, one)) for one in part]
    assert np.bincount(test.labels[found], minlength=10).tolist() == [2] * 10


@pytest.mark.parametrize("name", ["shuffled", "photographs"])
def test_the_seed_decides(bench, tmp_path, name):
    made = [
        make(bench.data, tmp_path / str(i), near=[name], far=[], images=30, seed=s) for i, s in enumerate((3, 3, 4))
    ]
    arrays, facts = zip(*made, strict=True)
    assert np.array_equal(arrays[0], arrays[1])
    assert not np.array_equal(arrays[0], arrays[2])
    assert facts[0]["config_hash"] == facts[1]["config_hash"] != facts[2]["config_hash"]


def test_all_photographs_are_installed_and_give_patches_with_contrast(colour, tmp_path):
    array, _ = make(colour, tmp_path, near=["photographs"], far=[], images=100)
    assert array.shape == (100, 3, SIZE, SIZE)
    assert array.std(axis=(2, 3)).max(axis=1).min() >= 5
    assert len(np.unique(array, axis=0)) == 100
    # some have colours
    assert any(np.ptp(image.astype(int), axis=0).max() > 30 for image in array)
    assert len(stage.photograph_files()) >= 15


def test_photographs_are_no_packages_import():
    code = (
        "import sys, layerlottery.evaluation.outliers as o; o.photograph_files(); "
        "sys.exit(bool({'torch', 'skimage', 'pooch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_photographs_take_turns(bench, tmp_path, planted):
    planted(noise(0, 80), noise(80, 160), noise(160, 240))
    array, _ = make(bench.data, tmp_path, near=["photographs"], far=[], images=10)
    assert (array.mean(axis=(1, 2, 3)) // 80).astype(int).tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_patches_are_two_to_eight_times_as_wide_and_lie_anywhere():
    ramp = np.tile(np.arange(256), (200, 1)).astype(np.uint8)
    found = [stage.patch(Image.fromarray(ramp), 8, np.random.default_rng(i))[0, 0].astype(float) for i in range(500)]
    # a patch of side s, scaled to 8, rises by s / 8 a pixel
    sides = np.array([8 * (patch[0, 6] - patch[0, 1]) / 5 for patch in found])
    assert 14 < sides.min() < 18
    assert 62 < sides.max() < 66
    assert np.histogram(sides, bins=4, range=(15.5, 64.5))[0].min() > 80
    assert all(np.ptp(patch, axis=0).max() == 0 for patch in found)
    lefts = np.array([patch[0, 0] for patch in found])
    assert lefts.min() < 10
    assert lefts.max() > 200


def test_patches_stay_inside_the_photograph_and_are_squares():
    wide = np.add.outer(np.arange(40) * 4, np.arange(200)).astype(np.uint8)
    for i in range(100):
        patch = stage.patch(Image.fromarray(wide[:, :95]), 16, np.random.default_rng(i))[0, 0].astype(float)
        down, across = patch[13, 8] - patch[2, 8], patch[8, 13] - patch[8, 2]
        # as many pixels down as across, of which each is 4 times as steep
        assert down == pytest.approx(4 * across, abs=5)
        assert 2 * 11 - 1 <= across <= 2.5 * 11 + 1


def test_patches_are_smoothed_when_scaled_down():
    ramp = np.tile(np.linspace(50, 200, 300), (300, 1))
    chequered = ramp + 50 * (-1.0) ** np.add.outer(np.arange(300), np.arange(300))
    patch = stage.patch(Image.fromarray(chequered.astype(np.uint8)), 16, np.random.default_rng(1))[0, 0].astype(float)
    # taking single pixels would leave jumps of 100
    assert np.abs(np.diff(patch, axis=0)).max() < 20


def test_patches_without_contrast_are_drawn_again():
    sky = np.full((400, 400), 130, dtype=np.uint8)
    sky[300:360, 300:360] = noise(0, 256, 80)[:60, :60]
    for i in range(30):
        assert stage.patch(Image.fromarray(sky), 8, np.random.default_rng(i)).std() >= 5


def test_a_photograph_of_nothing_is_an_error():
    with pytest.raises(LayerLotteryError, match=r"^photographs: 1000 patches of one had no contrast at image_size 8$"):
        stage.patch(Image.new("L", (100, 100), 7), 8, np.random.default_rng(0))


def test_photographs_of_a_class_of_the_set_are_left_out(bench, monkeypatch):
    read = []
    monkeypatch.setattr(stage, "_read", lambda file, package, mode: read.append(file.name) or Image.fromarray(ANY))
    settings = OutlierSettings(images=3)
    for classes in (["bird", "Cat", "dog"], ["rocket", "cup", "woman", "catfish"], ["b"]):
        facts = bench.prepared.facts | {"classes": classes}
        stage.photographs(PreparedSet(bench.data.parent, facts), settings)
    names = {file.name for _, file in stage.photograph_files()}
    cat, things = names - {"chelsea.png"}, names - {"rocket.jpg", "coffee.png", "astronaut.png"}
    assert sorted(read) == sorted([*cat, *things, *names])


def test_photographs_too_small_for_a_patch_are_left_out(colour, tmp_path, planted):
    planted(noise(0, 50, size=20), noise(150, 250))
    array, _ = make(colour, tmp_path, near=["photographs"], far=[], images=6)
    assert array.min() > 100


def test_no_photograph_large_enough_is_an_error(colour, tmp_path, planted):
    planted(noise(0, 50, size=20))
    with pytest.raises(LayerLotteryError, match=r"^photographs: image_size is 16; allowed: 10 or less$"):
        make(colour, tmp_path / "out", near=["photographs"], far=[])
    assert not (tmp_path / "out").exists()


def test_missing_photographs_are_named(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "PHOTOGRAPHS", {("scikit-image", "skimage", "data"): ("moon.png", "sun.png", "x.jpg")})
    with pytest.raises(LayerLotteryError, match=r"^photographs: the installed scikit-image lacks sun\.png, x\.jpg$"):
        make(bench.data, tmp_path)


def test_a_missing_package_is_named(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "PHOTOGRAPHS", {("no-images", "no_images", "data"): ("moon.png",)})
    with pytest.raises(LayerLotteryError, match=r"^photographs: the installed no-images lacks moon\.png$"):
        make(bench.data, tmp_path)


def test_a_broken_photograph_is_named(bench, tmp_path, monkeypatch):
    broken = tmp_path / "moon.png"
    broken.write_bytes(Path(find_spec("skimage").origin).parent.joinpath("data/moon.png").read_bytes()[:3000])
    monkeypatch.setattr(stage, "photograph_files", lambda: [("scikit-image", broken)])
    with pytest.raises(LayerLotteryError, match=r"moon\.png: of scikit-image, not a readable image \(OSError\)$"):
        make(bench.data, tmp_path / "out")


@pytest.fixture
def publisher(monkeypatch):
    """In place of torchvision's sets: one flat colour for each of five classes, 40x40."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [90, 90, 90]], dtype=np.uint8)
    labels = np.arange(100) % 5
    images = np.broadcast_to(colours[labels][:, :, None, None], (100, 3, 40, 40))
    asked = []

    def load(settings):
        asked.append((settings.set, settings.location, settings.download))
        kept = images if settings.set != "FashionMNIST" else images[:, 1:2]
        return Decoded(tuple("abcde"), Split(images[:5], labels[:5]), Split(kept, labels), {})

    monkeypatch.setattr(stage, "load_torchvision", load)
    return asked


def test_published_sets_take_the_form_of_the_set_and_are_balanced(bench, tmp_path, publisher):
    array, facts = make(
        bench.data, tmp_path, near=["SVHN"], far=["CIFAR100"], images=10, location="here", download=True
    )
    assert publisher == [("SVHN", "here", True), ("CIFAR100", "here", True)]
    assert [one["name"] for one in facts["sets"]] == ["SVHN", "CIFAR100"]
    assert array.shape == (20, 1, 8, 8)
    # luminance after ITU-R 601: 0.299 red, 0.587 green, 0.114 blue
    grey = sorted(2 * [round(255 * 0.299), round(255 * 0.587), round(255 * 0.114), 255, 90])
    for part in (array[:10], array[10:]):
        assert np.ptp(part, axis=(1, 2, 3)).max() == 0
        assert sorted(part[:, 0, 0, 0].tolist()) == pytest.approx(grey, abs=1)


def test_published_grey_images_become_colour(colour, tmp_path, publisher):
    array, _ = make(colour, tmp_path, near=["FashionMNIST"], far=["SVHN"], images=1000)
    assert array.shape == (200, 3, SIZE, SIZE)
    assert np.ptp(array[:100], axis=1).max() == 0
    assert array[100, :, 3, 3].tolist() == [255, 0, 0]


def test_a_published_set_that_is_not_there_is_named(bench, tmp_path):
    with pytest.raises(LayerLotteryError, match=r"nowhere.*: no such file, and download is false"):
        make(bench.data, tmp_path, near=["CIFAR10"], location=str(tmp_path / "nowhere"))


def test_the_data_set_itself_is_refused(bench, tmp_path, monkeypatch):
    itself = bench.prepared.facts | {"settings": {"source": "torchvision", "set": "SVHN"}}
    monkeypatch.setattr(PreparedSet, "open", lambda path: PreparedSet(path.parent, itself))
    with pytest.raises(LayerLotteryError, match=r"^near, far: SVHN is the data set itself; "):
        make(bench.data, tmp_path, far=["SVHN"])
