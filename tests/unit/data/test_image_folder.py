"""Image folders against pixels written here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerlottery.data.folder import load_folder
from layerlottery.data.prepare import prepare
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import ImageFolder

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def place(tmp_path):
    save(tmp_path / "train/owl/2.png", PIXELS[3])
    save(tmp_path / "train/owl/1.BMP", PIXELS[2])
    save(tmp_path / "train/cat/b.png", PIXELS[1])
    save(tmp_path / "train/cat/a.png", PIXELS[0])
    save(tmp_path / "test/owl/x.png", PIXELS[4])
    save(tmp_path / "test/cat/y.png", PIXELS[0])
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    (tmp_path / "train/.checkpoints").mkdir()
    return tmp_path


def load(place, **changes):
    return load_folder(ImageFolder(source="folder", location=str(place), **changes))


def test_classes_and_files_are_sorted(place, monkeypatch):
    # file systems list in any order; take the worst
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(listed(path), reverse=True)))
    decoded = load(place)
    assert decoded.classes == ("cat", "owl")
    assert np.array_equal(decoded.train.images, PIXELS[:4].transpose(0, 3, 1, 2))
    assert decoded.train.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(decoded.test.images, PIXELS[[0, 4]].transpose(0, 3, 1, 2))
    assert decoded.test.labels.dtype == np.int64


def test_size_and_channels_follow_the_settings(place):
    found = load(place, image_size=12, channels=1).train.images
    grey = Image.fromarray(PIXELS[0]).convert("L").resize((12, 12), Image.Resampling.BILINEAR)
    assert found.shape == (4, 1, 12, 12)
    assert np.array_equal(found[0, 0], np.asarray(grey))


def test_shifted_folders_keep_their_names(place):
    save(place / "dusk/cat/1.png", PIXELS[2])
    save(place / "dusk/owl/1.png", PIXELS[3])
    shifted = load(place, shifted={"dusk": "dusk"}).shifted["dusk"]
    assert np.array_equal(shifted.images, PIXELS[2:4].transpose(0, 3, 1, 2))
    assert shifted.labels.tolist() == [0, 1]


def test_test_classes_must_be_the_training_classes(place):
    save(place / "test/yak/1.png", PIXELS[0])
    with pytest.raises(LayerLotteryError, match=r"test: its classes differ .* in yak"):
        load(place)


def test_a_corrupt_image_is_named(place):
    (place / "train/owl/2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(LayerLotteryError, match=r"owl/2\.png: not a readable image"):
        load(place)


def test_a_truncated_image_is_named(place):
    whole = (place / "test/owl/x.png").read_bytes()
    (place / "test/owl/x.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LayerLotteryError, match=r"owl/x\.png: not a readable image"):
        load(place)


def test_images_that_are_not_square_need_image_size(place):
    save(place / "train/cat/a.png", PIXELS[0][:6])
    with pytest.raises(LayerLotteryError, match=r"cat/a\.png: 8x6 pixels, not square; set image_size"):
        load(place)
    assert load(place, image_size=8).train.images.shape == (4, 3, 8, 8)


def test_empty_places_are_named(place):
    with pytest.raises(LayerLotteryError, match="night: no such folder"):
        load(place, test="night")
    (place / "bare").mkdir()
    with pytest.raises(LayerLotteryError, match="bare: holds no class folders"):
        load(place, test="bare")
    (place / "train/ape").mkdir()
    with pytest.raises(LayerLotteryError, match="train/ape: holds no images"):
        load(place)


def test_images_below_8_pixels_are_refused(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (7, 7), 50).save(tmp_path / part / name / "one.png")
    settings = ImageFolder(source="folder", location=str(tmp_path))
    with pytest.raises(LayerLotteryError, match="train: images of 7x7 pixels; allowed are 8 or more"):
        prepare(settings, tmp_path / "out")
