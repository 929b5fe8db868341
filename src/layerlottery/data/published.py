"""The files of the sets that are fetched: address, size and SHA-256, by their place below the set's location.

Sizes and hashes are those of TensorFlow Datasets; they belong to the same files as the MD5s that torchvision and the
publishers name. The places are torchvision's, so that what it has fetched before is found.
"""

from __future__ import annotations

from layerlottery.data.download import Published

_CIFAR = "https://www.cs.toronto.edu/~kriz"
_SVHN = "https://ufldl.stanford.edu/housenumbers"
_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion"
)

FILES: dict[str, dict[str, Published]] = {
    "CIFAR10": {
        "cifar-10-binary.tar.gz": Published(
            f"{_CIFAR}/cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    },
    "CIFAR100": {
        "cifar-100-binary.tar.gz": Published(
            f"{_CIFAR}/cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    },
    "SVHN": {
        "train_32x32.mat": Published(
            f"{_SVHN}/train_32x32.mat",
            182_040_794,
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        "test_32x32.mat": Published(
            f"{_SVHN}/test_32x32.mat",
            64_275_384,
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    },
    "FashionMNIST": {
        "FashionMNIST/raw/train-images-idx3-ubyte.gz": Published(
            f"{_FASHION}/train-images-idx3-ubyte.gz",
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        "FashionMNIST/raw/train-labels-idx1-ubyte.gz": Published(
            f"{_FASHION}/train-labels-idx1-ubyte.gz",
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        "FashionMNIST/raw/t10k-images-idx3-ubyte.gz": Published(
            f"{_FASHION}/t10k-images-idx3-ubyte.gz",
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz": Published(
            f"{_FASHION}/t10k-labels-idx1-ubyte.gz",
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    },
}

# what torchvision makes of the archives in Python's own format
PICKLED: dict[str, tuple[str, str]] = {
    "CIFAR10": ("cifar-10-batches-py", "cifar-10-python.tar.gz"),
    "CIFAR100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}
