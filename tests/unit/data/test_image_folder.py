"""Image folders against pixels written here."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.data.decoded import whole

from layerlottery.config.data import ImageFolder
from layerlottery.data.folder import load_folder
from layerlottery.data.pixels import Form, decode
from layerlottery.data.prepare import prepare
from layerlottery.errors import LayerLotteryError

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
    """The whole set, decoded."""
    return whole(load_folder(ImageFolder(source="folder", location=str(place), **changes)))


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
    with pytest.raises(LayerLotteryError, match="train: images of 7x7 pixels; allowed: 8 or more"):
        prepare(settings, tmp_path / "out")


# as publishers lay them out


def test_images_lie_in_class_folders_at_any_depth(place):
    save(place / "train/cat/images/c.png", PIXELS[2])
    save(place / "train/cat/images/more/d.JPEG", np.full((8, 8, 3), 90, dtype=np.uint8))
    save(place / "train/cat/.cache/e.png", PIXELS[4])
    save(place / "train/cat/images/.hidden.png", PIXELS[4])
    decoded = load(place)
    assert decoded.train.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert np.array_equal(decoded.train.images[:3], PIXELS[:3].transpose(0, 3, 1, 2))
    assert np.all(decoded.train.images[3] == 90)


def test_links_are_followed_but_not_in_circles(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "deep/z.png", PIXELS[4])
    (place / "train/cat/linked").symlink_to(elsewhere)
    (elsewhere / "deep/back").symlink_to(elsewhere)
    (elsewhere / "deep/lost.png").symlink_to(elsewhere / "nothing.png")
    assert np.array_equal(load(place).train.images[2], PIXELS[4].transpose(2, 0, 1))
    assert len(load(place).train) == 5


BOXES = "\t0\t32\t44\t62\n"


@pytest.fixture
def tiny(tmp_path):
    """Tiny-ImageNet's layout: two classes, four validation images in one folder."""
    for label, image in (("n02", 0), ("n01", 1)):
        save(tmp_path / f"train/{label}/images/{label}_0.JPEG", PIXELS[image])
        (tmp_path / f"train/{label}/{label}_boxes.txt").write_text(f"{label}_0.JPEG{BOXES}")
    for i, pixels in enumerate(PIXELS[:4]):
        save(tmp_path / f"val/images/val_{i}.JPEG", pixels)
    save(tmp_path / "test/images/test_0.JPEG", PIXELS[4])
    lines = [f"val_{i}.JPEG\t{label}{BOXES}" for i, label in ((3, "n01"), (0, "n02"), (2, "n01"), (1, "n02"))]
    (tmp_path / "val/val_annotations.txt").write_text("".join(lines))
    return tmp_path


def of_files(place, *names):
    return [np.asarray(Image.open(place / name)).transpose(2, 0, 1) for name in names]


def test_tiny_imagenet_is_read_as_published(tiny):
    decoded = load(tiny, test="val")
    assert decoded.classes == ("n01", "n02")
    images = of_files(tiny, "train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG")
    assert np.array_equal(decoded.train.images, images)
    assert decoded.test.labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(decoded.test.images, of_files(tiny, *(f"val/images/val_{i}.JPEG" for i in (2, 3, 0, 1))))


def test_class_folders_made_of_it_are_the_same_set(tiny):
    published = load(tiny, test="val").test
    for i, label in ((3, "n01"), (0, "n02"), (2, "n01"), (1, "n02")):
        target = tiny / f"val/{label}/val_{i}.JPEG"
        target.parent.mkdir(exist_ok=True)
        (tiny / f"val/images/val_{i}.JPEG").rename(target)
    (tiny / "val/images").rmdir()
    # the list stays behind: where there are class folders, they count
    moved = load(tiny, test="val").test
    assert np.array_equal(moved.images, published.images)
    assert np.array_equal(moved.labels, published.labels)


def test_the_list_may_have_another_name_and_name_paths(tiny):
    (tiny / "val/val_annotations.txt").unlink()
    named = "".join(f"images/val_{i}.JPEG\tn0{1 + i % 2}\n" for i in range(4))
    (tiny / "val/list.tsv").write_text(named)
    with pytest.raises(LayerLotteryError, match="val: its classes differ"):
        load(tiny, test="val")
    assert load(tiny, test="val", annotations="list.tsv").test.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(LayerLotteryError, match=r"val/other\.tsv: no such file; it is named in annotations"):
        load(tiny, test="val", annotations="other.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "val_0.JPEG n01\n",
            r"val_annotations\.txt: line 1 is 'val_0.JPEG n01', allowed: an image, a tab, its class",
        ),
        ("val_0.JPEG\tn01\n\nval_9.JPEG\tn01", "line 3 names val_9.JPEG, found no such image in"),
        ("val_0.JPEG\tn01\nval_0.JPEG\tn02", "line 2 names val_0.JPEG again"),
        ("val_0.JPEG\tn01\nval_1.JPEG\tn02\nval_3.JPEG\tn02\n", r"val_2\.JPEG: .*val_annotations\.txt names no class"),
        ("".join(f"val_{i}.JPEG\tn0{i}\n" for i in range(4)), "val: its classes differ .* in n00, n03"),
        ("../secret.JPEG\tn01\n", "found no such image"),
        (b"\xff\xfe", "not a text in UTF-8"),
    ],
)
def test_lists_that_do_not_fit_the_images(tiny, text, message):
    (tiny / "val/val_annotations.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LayerLotteryError, match=message):
        load(tiny, test="val")


def test_a_name_that_two_images_have_is_refused(tiny):
    save(tiny / "val/more/val_0.JPEG", PIXELS[0])
    with pytest.raises(LayerLotteryError, match=r"names val_0\.JPEG, found 2 images of that name"):
        load(tiny, test="val")


def test_imagenet_by_folder(tmp_path):
    for split, names in (("train", ("a", "b")), ("val", ("ILSVRC2012_val_1",))):
        for label in ("n01440764", "n01443537"):
            for name in names:
                save(tmp_path / f"{split}/{label}/{label}_{name}.JPEG", np.full((300, 500, 3), 9 * len(name), np.uint8))
    decoded = load(tmp_path, test="val", image_size=224, fit="crop")
    assert decoded.train.images.shape == (4, 3, 224, 224)
    assert decoded.test.labels.tolist() == [0, 1]


# the form of images


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (33, 33), (31, 97), (150, 41), (16, 300), (300, 17), (8, 9)])
@pytest.mark.parametrize("side", [16, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_is_torchvision_s_resize_and_centre_crop(size, side, channels):
    from torchvision.transforms import functional as transforms

    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    sink = io.BytesIO()
    image.save(sink, "PNG")
    found = decode(sink.getvalue(), Form(side, channels, "crop"), "one")
    scaled = transforms.resize(image.convert("L" if channels == 1 else "RGB"), side)
    expected = np.asarray(transforms.center_crop(scaled, side))
    assert found.shape == (channels, side, side)
    assert np.array_equal(found, expected[None] if channels == 1 else expected.transpose(2, 0, 1))


def test_a_square_image_is_the_same_either_way(place):
    stretched, cropped = (load(place, image_size=12, fit=fit).train.images for fit in ("stretch", "crop"))
    assert np.array_equal(stretched, cropped)


def test_a_crop_needs_a_size():
    with pytest.raises(ValueError, match="fit: crop needs image_size"):
        ImageFolder(source="folder", location="x", fit="crop")
