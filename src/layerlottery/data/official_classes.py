"""Classes of the published test sets, found by name in sets that call or order them otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from layerlottery.config.data import OfficialCorruptions, OfficialShift
from layerlottery.data.prepared import Labels
from layerlottery.errors import LayerLotteryError


def _words(text: str) -> list[str]:
    return text.split()


# in the order of their labels
CIFAR10 = _words("airplane automobile bird cat deer dog frog horse ship truck")
CIFAR100 = _words("""
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
""")
CLASSES: dict[OfficialCorruptions | OfficialShift, list[str]] = {
    "CIFAR-10-C": CIFAR10,
    "CIFAR-100-C": CIFAR100,
    "CIFAR-10.1": CIFAR10,
    "CIFAR-10.2": CIFAR10,
}
# other names in use: torchvision's tutorials, the publisher's page, and Hugging Face's "cra"
_SYNONYMS = {
    "airplane": "plane aeroplane",
    "automobile": "car auto",
    "ship": "boat",
    "truck": "lorry",
    "crab": "cra",
    "keyboard": "computerkeyboard",
    "sweetpepper": "sweetpeppers",
    "poppy": "poppies",
    "couch": "sofa",
    "bicycle": "bike",
    "motorcycle": "motorbike",
    "streetcar": "tram",
    "lawnmower": "mower",
    **{f"{tree}tree": tree for tree in _words("maple oak palm pine willow")},
    **{one: f"{one}s" for one in _words("apple bottle bowl can cup mushroom orange orchid pear plate rose tulip")},
    "sunflower": "sunflowers",
}
_OFFICIAL = {other: name for name, others in _SYNONYMS.items() for other in others.split()}


def are_numbers(classes: Sequence[str]) -> bool:
    """Whether classes are only called by their labels, as in a Parquet file without names."""
    return [*classes] == [str(label) for label in range(len(classes))]


def places(name: OfficialCorruptions | OfficialShift, classes: Sequence[str]) -> Labels:
    """The label that each class of a published set has among `classes`, by name; int64, one a class.

    Case, spaces, signs and a number in front don't count, and usual synonyms do. Raises LayerLotteryError naming what
    can't be matched.
    """
    found = {plain(one): label for label, one in enumerate(classes)}
    wanted = CLASSES[name]
    known = {plain(one) for one in wanted}
    if len(found) < len(classes) or (strange := [one for one in classes if plain(one) not in known]):
        strange = [*classes] if len(found) < len(classes) else strange
        raise LayerLotteryError(
            f"official.sets: {name} can't be matched with classes called {_few(strange)}; "
            f"allowed: its own names, {_few([one for one in wanted if plain(one) not in found] or wanted)}"
        )
    return np.array([found[plain(one)] for one in wanted], dtype=np.int64)


def same_classes(classes: Sequence[str]) -> str | None:
    """The set of torchvision's names, CIFAR10 or CIFAR100, that has exactly these classes."""
    found = {plain(one) for one in classes}
    sets = {"CIFAR10": CIFAR10, "CIFAR100": CIFAR100}
    return next((name for name, own in sets.items() if found == {plain(one) for one in own}), None)


def plain(name: str) -> str:
    """A class's name without what differs between publishers, such as case and signs; a synonym's official name."""
    word = re.sub(r"[\W_]+", "", re.sub(r"^\d+[\W_]+", "", name.casefold()))
    return _OFFICIAL.get(word, word)


def _few(names: Sequence[str]) -> str:
    return ", ".join([*names[:10], "…"] if len(names) > 10 else names)
