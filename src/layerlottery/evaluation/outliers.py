"""Stage outliers: images of no class of a data set, made once and shared by all networks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from layerlottery.config.data import TorchvisionImages
from layerlottery.config.evaluation import OutlierSettings
from layerlottery.config.provenance import config_hash
from layerlottery.data.official_classes import plain, same_classes
from layerlottery.data.prepared import Images, PreparedSet, select_images
from layerlottery.data.torchvision_sets import load_torchvision
from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts
from layerlottery.store.arrays import write_array
from layerlottery.store.chain import Chain
from layerlottery.store.hashing import derived_seed

# package, its module, folder and files: what the two wheels hold without a download, text, drawings and logos aside
PHOTOGRAPHS = {
    ("scikit-learn", "sklearn", "datasets/images"): ("china.jpg", "flower.jpg"),
    ("scikit-image", "skimage", "data"): (
        *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
        *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg"),
        "rocket.jpg",
    ),
}
# classes that a photograph shows, as CIFAR calls them: there it is no outlier
SHOWN = {
    "china.jpg": {"castle", "house"},
    "astronaut.png": {"woman"},
    "camera.png": {"man"},
    "chelsea.png": {"cat"},
    "coffee.png": {"cup"},
    "motorcycle_left.png": {"motorcycle"},
    "rocket.jpg": {"rocket"},
}
SMALLEST, LARGEST = 2, 8  # sides of a patch, in sides of an image
CONTRAST = 5  # grey levels: least standard deviation of a patch in one of its channels
# of one patch at most; 5,000 patches from 8x8 to 64x64 took 19 at most, the flattest photograph 4 on average
DRAWS = 1000


def outliers(data: Path, output_images: Path, output_facts: Path, settings: OutlierSettings) -> None:
    """Write images of no class, in the form of the test images, and which are which.

    `data` is the facts file of a prepared set. `output_images` becomes one npy array, uint8 (M, C, H, W), to be
    memory-mapped; `output_facts` holds "sets" (name, distance, start and end in the array, in its order), "data"
    and "array" (content hashes). Raises LayerLotteryError for a set that is the data set itself, and when
    a file is missing.
    """
    prepared = PreparedSet.open(data)
    named = [(name, "near") for name in settings.near] + [(name, "far") for name in settings.far]
    own = prepared.facts["settings"].get("set") or same_classes(prepared.classes)
    if own in dict(named):
        raise LayerLotteryError(f"near, far: {own} is the data set itself; allowed: sets of other images")
    images = np.empty((0, prepared.channels, prepared.image_size, prepared.image_size), dtype=np.uint8)
    sets: list[dict[str, Any]] = []
    for name, distance in named:
        start = len(images)
        found = KINDS[name](prepared, settings) if name in KINDS else published(name, prepared, settings)
        images = np.concatenate([images, found])
        sets.append({"name": name, "distance": distance, "start": start, "end": len(images)})
    content = write_array(output_images, images)
    facts = {"sets": sets, "data": prepared.content, "array": content}
    # the array counts as an input: the packages and torchvision's files that it was made from are not ours
    made_by = config_hash("outliers", settings, [prepared.content, content])
    chain = Chain()
    chain.add(data, prepared.content)
    artifacts.write_facts(output_facts, facts, config_hash=made_by, inputs=chain.inputs)


def shuffled(prepared: PreparedSet, settings: OutlierSettings) -> Images:
    """Test images, balanced over classes, the pixels of each in a random order of its own, all channels together."""
    test = prepared.split("test")
    chosen = select_images(test.labels, settings.images, seed=settings.seed)
    images = test.images[chosen]
    flat = images.reshape(*images.shape[:2], -1)
    for place, image in zip(chosen.tolist(), flat, strict=True):
        order = _generator(settings, "shuffled", place).permutation(image.shape[1])
        image[:] = image[:, order]
    return flat.reshape(images.shape)


def photographs(prepared: PreparedSet, settings: OutlierSettings) -> Images:
    """Square patches of photographs, all photographs equally often, scaled down to the size of the test images.

    Their sides are 2 to 8 times that of a test image, as far as the photograph allows. In a set of colour images
    those of grey photographs are grey. Photographs that are too small, or show a class of the set, are left out.
    """
    classes = {plain(name) for name in prepared.classes}
    files = [(package, file) for package, file in photograph_files() if not classes & SHOWN.get(file.name, set())]
    held = [_read(file, package, _mode(prepared)) for package, file in files]
    size = prepared.image_size
    usable = [photograph for photograph in held if min(photograph.size) >= SMALLEST * size]
    if not usable:
        most = max(min(photograph.size) for photograph in held) // SMALLEST
        raise LayerLotteryError(f"photographs: image_size is {size}; allowed: {most} or less")
    patches = [
        patch(usable[i % len(usable)], size, _generator(settings, "photographs", i)) for i in range(settings.images)
    ]
    return np.concatenate(patches)


def patch(photograph: Image.Image, size: int, random: np.random.Generator) -> Images:
    """One patch, uint8 (1, C, size, size), drawn until its contrast is above that of an empty sky."""
    for _ in range(DRAWS):
        side = int(random.integers(SMALLEST * size, min(LARGEST * size, *photograph.size) + 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in photograph.size)
        drawn = _form(photograph, size, box=(left, top, left + side, top + side))
        if drawn.std(axis=(2, 3)).max() >= CONTRAST:
            return drawn
    raise LayerLotteryError(f"photographs: {DRAWS} patches of one had no contrast at image_size {size}")


def published(name: str, prepared: PreparedSet, settings: OutlierSettings) -> Images:
    """Test images of one of torchvision's sets, balanced over classes, converted and resized bilinearly."""
    source = {"source": "torchvision", "set": name, "location": settings.location, "download": settings.download}
    test = load_torchvision(TorchvisionImages.model_validate(source)).test
    chosen = test.images[select_images(test.labels, settings.images, seed=settings.seed)]
    mode, size = _mode(prepared), prepared.image_size
    pictures = (Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0).squeeze())) for image in chosen)
    return np.concatenate([_form(picture.convert(mode), size) for picture in pictures])


KINDS = {"shuffled": shuffled, "photographs": photographs}


def _mode(prepared: PreparedSet) -> str:
    return "L" if prepared.channels == 1 else "RGB"


def _generator(settings: OutlierSettings, purpose: str, place: int) -> np.random.Generator:
    return np.random.default_rng(derived_seed(settings.seed, purpose, place))


def _form(image: Image.Image, size: int, *, box: tuple[int, int, int, int] | None = None) -> Images:
    """uint8 (1, C, size, size) of an image of mode L or RGB; Pillow's bilinear filter widens when it scales down."""
    array = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box), dtype=np.uint8)
    return array[None, None] if array.ndim == 2 else array.transpose(2, 0, 1)[None]


def photograph_files() -> list[tuple[str, Path]]:
    """Package and file of each photograph. Raises LayerLotteryError that names those which are not installed."""
    found = []
    for (package, module, folder), names in PHOTOGRAPHS.items():
        # found without an import: scikit-image's loaders may download
        spec = find_spec(module)
        places = list(spec.submodule_search_locations or ()) if spec else []
        files = [Path(places[0], folder, name) if places else Path(name) for name in names]
        if missing := [file.name for file in files if not file.is_file()]:
            raise LayerLotteryError(f"photographs: the installed {package} lacks {', '.join(missing)}")
        found += [(package, file) for file in files]
    return found


def _read(path: Path, package: str, mode: str) -> Image.Image:
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as held:
            return held.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise LayerLotteryError(f"{path}: of {package}, not a readable image ({type(error).__name__})") from error
