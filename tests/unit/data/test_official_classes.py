"""Published labels in sets that name or order the classes in their own way."""

import numpy as np
import pytest
from tests.unit.official_files import corrupted, npz, publish, put

from layerlottery.config.data import Digits, OfficialSettings
from layerlottery.config.evaluation import CorruptionSettings, OutlierSettings
from layerlottery.data.decode import Decoded
from layerlottery.data.official import load_shifted, open_corrupted
from layerlottery.data.official_classes import CIFAR10, CIFAR100, places
from layerlottery.data.prepare import LOADERS, prepare
from layerlottery.data.prepared import Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.corrupt import corrupt
from layerlottery.evaluation.outliers import outliers
from layerlottery.store import artifacts

# what the official classes are called here, in the official order
OWN = {
    "folders of a course": ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    "British": ["Aeroplane", "AUTO", "Bird", "Cat", "Deer", "Dog", "Frog", "Horse", "Boat", "Lorry"],
    "with numbers": [f"{label:02d}_{name}" for label, name in enumerate(CIFAR10)],
    "backwards": [f"{9 - label} - {name.title()}" for label, name in enumerate(CIFAR10)],
}


@pytest.mark.parametrize("names", OWN.values(), ids=OWN)
@pytest.mark.parametrize("order", [sorted, lambda names: names[::-1], lambda names: [*names[3:], *names[:3]]])
def test_each_class_is_found_by_its_name(names, order):
    classes = order(names)
    found = places("CIFAR-10.1", classes)
    assert [classes[label] for label in found] == names


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hundred_classes_as_two_publishers_call_them(seed):
    published = {"crab": "cra", "keyboard": "computer keyboard", "maple_tree": "maple", "sweet_pepper": "sweet peppers"}
    names = [published.get(name, name.replace("_", " ")) for name in CIFAR100]
    shuffled = [*np.random.default_rng(seed).permutation(names)]
    assert [shuffled[label] for label in places("CIFAR-100-C", shuffled)] == names


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([*CIFAR10[:9], "lorries"], r"called lorries; allowed: its own names, truck$"),
        ([*CIFAR10[:8], "car", "truck"], r"called airplane, automobile, .*; allowed: its own names, ship$"),
        ([*"0123456789"], r"called 0, 1, .*; allowed: its own names, airplane, automobile, .*"),
        (["T-shirt", *CIFAR10[:8], "Bag"], r"called T-shirt, Bag; allowed: its own names, ship, truck$"),
    ],
)
def test_what_has_no_name_in_common_is_refused(classes, message):
    with pytest.raises(LayerLotteryError, match=rf"CIFAR-10\.2 can't be matched with classes {message}"):
        places("CIFAR-10.2", classes)


def test_shifted_labels_are_those_of_the_set(tmp_path, monkeypatch):
    classes, labels = sorted(OWN["British"]), np.arange(30) % 10
    images = np.random.default_rng(2).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    publish(monkeypatch, "CIFAR-10.2", [content := npz(images=images, labels=labels)])
    (tmp_path / "cifar102_test.npz").write_bytes(content)
    settings = OfficialSettings(sets=["CIFAR-10.2"], location=str(tmp_path))
    split = load_shifted(settings, channels=3, classes=classes, image_size=32)["cifar10.2"]
    assert [classes[label] for label in split.labels] == [OWN["British"][label] for label in labels]
    with pytest.raises(LayerLotteryError, match="can't be matched with classes called 0, 1"):
        load_shifted(settings, channels=3, classes=[*"0123456789"], image_size=32)


def test_corrupted_labels_are_those_of_the_set(tmp_path):
    put(tmp_path, corrupted("fog"))
    classes = OWN["folders of a course"][::-1]
    settings = OfficialSettings(sets=["CIFAR-10-C"], location=str(tmp_path))
    held = open_corrupted(settings, ["fog"], channels=3, classes=classes, image_size=32)
    assert [classes[label] for label in held.labels] == OWN["folders of a course"] * 2


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The facts file of a set with these classes and test labels."""

    def make(classes, labels):
        pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        split = Split(pixels, np.array(labels))
        monkeypatch.setitem(LOADERS, "digits", lambda _: Decoded(tuple(classes), split, split, {}))
        prepare(Digits(source="digits", shifted=[]), tmp_path / "set")
        return tmp_path / "set/facts.json"

    return make


@pytest.mark.parametrize(("labels", "fits"), [([*range(10)] * 2, True), (sorted([*range(10)] * 2), False)])
def test_numbers_count_only_where_the_test_images_agree(tmp_path, prepared, labels, fits):
    put(tmp_path, corrupted("fog"))
    official = OfficialSettings(sets=["CIFAR-10-C"], location=str(tmp_path))
    chosen = CorruptionSettings(names=["fog"], severities=[1])
    words = prepared("0123456789", labels), tmp_path / "images.npy", tmp_path / "facts.json", chosen, official
    if fits:
        corrupt(*words)
        assert artifacts.read_facts(words[2])["labels"] == labels
    else:
        with pytest.raises(LayerLotteryError, match="CIFAR-10-C can't be matched with classes called 0, 1"):
            corrupt(*words)


@pytest.mark.parametrize(("name", "classes"), [("CIFAR10", OWN["British"]), ("CIFAR100", sorted(CIFAR100)[::-1])])
def test_a_set_is_no_outlier_to_itself_whatever_its_source(tmp_path, prepared, name, classes):
    data = prepared(classes, range(len(classes)))
    with pytest.raises(LayerLotteryError, match=f"^near, far: {name} is the data set itself"):
        outliers(data, tmp_path / "o.npy", tmp_path / "o.json", OutlierSettings(near=[], far=[name]))
