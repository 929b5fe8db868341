"""Extras of this package, and what a module that is not installed is told by.

The library needs few packages; commands and the benchmark need more, which `pip install 'layerlottery[benchmark]'`
brings. Imports nothing, for the console script reads this where next to nothing is installed.
"""

from __future__ import annotations

# the extra that brings a module, by the name that it is imported by
EXTRAS = {
    **dict.fromkeys(
        (
            *("PIL", "click", "codecarbon", "cpuinfo", "eagerpy", "foolbox", "matplotlib", "mlxtend", "pandas"),
            *("psutil", "pyarrow", "pynvml", "rich_click", "skimage", "sklearn", "snakemake"),
            *("snakemake_interface_common", "tabulate", "torch_pruning", "torchvision", "vl_convert"),
        ),
        "benchmark",
    ),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export"),
    "pyautoattack": "autoattack",
    "timm": "timm",
    "tensorboardX": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "huggingface_hub": "publish",
}


def missing(error: ImportError) -> str | None:
    """What to say of an import that failed since an extra is not installed, in one line; None for any other."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return None
    return f"the package {module} is not installed: pip install 'layerlottery[{EXTRAS[module]}]'"
