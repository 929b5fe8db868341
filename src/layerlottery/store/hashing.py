"""One text for one value, so that equal configurations have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value's canonical text, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from several parts (seed, epoch, batch, purpose), the same on every machine."""
    return int(digest(list(parts))[:16], 16) >> 1
