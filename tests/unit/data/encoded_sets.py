"""Twins: one image folder, prepared decoded and encoded."""

import numpy as np
from PIL import Image

from layerlottery.config.data import ImageFolder
from layerlottery.data.prepare import prepare

CLASSES, SIZE = 3, 12


def picture(number):
    """An image of a size of its own, smooth enough for a JPEG."""
    random = np.random.default_rng(number)
    small = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize((16 + number % 7, 14 + number % 5), Image.Resampling.BICUBIC)


def write_folder(place, *, train=30, test=18):
    """JPEG files, a PNG with transparency, a grey and a turned one, in class folders."""
    for split, count, first in (("train", train, 0), ("test", test, 1000)):
        for number in range(count):
            folder = place / split / f"class{number % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            image = picture(first + number)
            if number == 4:
                image.putalpha(128)
                image.save(folder / f"{number:03}.png")
            elif number == 5:
                image.convert("L").save(folder / f"{number:03}.jpg", quality=90)
            elif number == 6:
                turned = Image.Exif()
                turned[0x0112] = 6
                image.save(folder / f"{number:03}.jpg", quality=90, exif=turned)
            else:
                image.save(folder / f"{number:03}.jpg", quality=90)
    return place


def settings(place, **changes):
    given = {"image_size": SIZE, "fit": "crop", "channels": 3, "shifted": {"again": "test"}} | changes
    return ImageFolder(source="folder", location=str(place), **given)


def twins(folder, **changes):
    """Facts files of both forms."""
    write_folder(folder / "images")
    for stored in ("decoded", "encoded"):
        prepare(settings(folder / "images", stored=stored, **changes), folder / stored)
    return folder / "decoded/facts.json", folder / "encoded/facts.json"
