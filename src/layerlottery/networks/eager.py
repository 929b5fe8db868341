"""Networks as they were written, where torch.compile has made something of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# while it is "1" torch.compile gives back what it was given
DISABLED = "TORCHDYNAMO_DISABLE"


@contextmanager
def eager() -> Iterator[None]:
    """While it is active nothing runs compiled.

    Importing torch's compiler takes as long as importing torch. Where it isn't loaded nothing can have been compiled,
    and it stays so; what a network would compile in its first pass remains as it was written.
    """
    if "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"):
            yield
        return
    before = os.environ.get(DISABLED)
    os.environ[DISABLED] = "1"
    try:
        yield
    finally:
        del os.environ[DISABLED]
        if before is not None:
            os.environ[DISABLED] = before
