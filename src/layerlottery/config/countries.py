"""Carbon intensity of electricity by country, from codecarbon's data."""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from layerlottery.errors import LayerLotteryError


def carbon_intensity(country: str) -> float:
    """kg CO2-equivalent a kWh of a country (ISO 3166 code of three letters) by codecarbon's data.

    Raises LayerLotteryError for a code that codecarbon doesn't know: itself it would take the world's average.
    """
    mix = _energy_mix()
    if country not in mix:
        near = get_close_matches(country.upper(), mix, n=4, cutoff=0.3) or sorted(mix)[:4]
        raise LayerLotteryError(
            f"energy.country: no energy mix is known for {country!r}; "
            f"allowed: {len(mix)} ISO 3166 codes of three letters, such as {', '.join(near)}"
        )
    return float(mix[country]["carbon_intensity"]) / 1000


@cache
def _energy_mix() -> dict[str, dict[str, Any]]:
    # the package is not imported: that takes a second, and the Snakefile asks in every run
    package = find_spec("codecarbon")
    if package is None or package.origin is None:
        raise LayerLotteryError("energy.country: codecarbon is not installed; set energy.carbon_intensity instead")
    data = Path(package.origin).parent / "data" / "private_infra" / "global_energy_mix.json"
    mix: dict[str, dict[str, Any]] = json.loads(data.read_text(encoding="utf-8"))
    return mix
