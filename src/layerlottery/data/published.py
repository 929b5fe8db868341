"""The files of the sets that are fetched: address, size and hash, by their place below the set's location.

FILES: sizes and SHA-256 are those of TensorFlow Datasets; they belong to the same files as the MD5s that torchvision
and the publishers name. The places are torchvision's, so that what it has fetched before is found.
OFFICIAL: the corrupted sets of Hendrycks & Dietterich (2019) are known by the MD5 that their publisher names; those
of Recht et al. (2018, CIFAR-10.1) and Lu et al. (2020, CIFAR-10.2) by the SHA-256 of the files at the named commit.
"""

from __future__ import annotations

from layerlottery.config.data import OfficialCorruptions, OfficialShift
from layerlottery.data.download import Published

_CIFAR = "https://www.cs.toronto.edu/~kriz"
_SVHN = "https://ufldl.stanford.edu/housenumbers"
_GITHUB = "https://raw.githubusercontent.com"
_FASHION = f"{_GITHUB}/zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion"
_CIFAR_10_1 = f"{_GITHUB}/modestyachts/CIFAR-10.1/d9982abb0bfc4846b8d13a11e66b887d946205d0/datasets"
_CIFAR_10_2 = f"{_GITHUB}/modestyachts/cifar-10.2/521467a52ad494b78ff9c70051099c0d9ba74d40"


def _at(address: str, *files: tuple[str, int, str], below: str = "") -> dict[str, Published]:
    """Files (name, size, SHA-256) of one address; their places are below a folder of the set's location."""
    return {f"{below}{name}": Published(f"{address}/{name}", size, sha256) for name, size, sha256 in files}


def _on_zenodo(record: int, file: str, md5: str, *, size: int | None = None) -> dict[str, Published]:
    return {file: Published(f"https://zenodo.org/records/{record}/files/{file}?download=1", size, md5=md5)}


FILES: dict[str, dict[str, Published]] = {
    "CIFAR10": _at(
        _CIFAR,
        ("cifar-10-binary.tar.gz", 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    ),
    "CIFAR100": _at(
        _CIFAR,
        ("cifar-100-binary.tar.gz", 168_513_733, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    ),
    "SVHN": _at(
        _SVHN,
        ("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
        ("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
    ),
    "FashionMNIST": _at(
        _FASHION,
        ("train-images-idx3-ubyte.gz", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte.gz", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        below="FashionMNIST/raw/",
    ),
}

OFFICIAL: dict[OfficialShift | OfficialCorruptions, dict[str, Published]] = {
    "CIFAR-10-C": _on_zenodo(2535967, "CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499", size=2_918_471_680),
    "CIFAR-100-C": _on_zenodo(3555552, "CIFAR-100-C.tar", "11f0ed0f1191edbf9fa23466ae6021d3"),
    "CIFAR-10.1": _at(
        _CIFAR_10_1,
        ("cifar10.1_v6_data.npy", 6_144_128, "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6"),
        ("cifar10.1_v6_labels.npy", 8_128, "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448"),
    ),
    "CIFAR-10.2": _at(
        _CIFAR_10_2,
        ("cifar102_test.npz", 6_393_664, "e4fd6462bd5141ed293acd52ea570952f65d1bfd4ec9b068f87742f75a7a632e"),
    ),
}

SHIFTED_IMAGES = {"CIFAR-10.1": 2000, "CIFAR-10.2": 2000}

# what torchvision makes of the archives in Python's own format
PICKLED: dict[str, tuple[str, str]] = {
    "CIFAR10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "CIFAR100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}
