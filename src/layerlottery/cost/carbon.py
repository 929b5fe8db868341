"""From energy to CO2-equivalent: a country's energy mix, and the calculator of Lacoste et al. (2019)."""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
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


def lacoste_co2(watts: float, seconds: float, intensity: float) -> float:
    """kg CO2-equivalent of a processor's design power (W) over a time (s), at `intensity` kg a kWh.

    Lacoste et al., Quantifying the carbon emissions of machine learning (2019); unrounded.
    """
    kwh = watts * (seconds / 3600) / 1000
    return kwh * intensity


@cache
def _energy_mix() -> dict[str, dict[str, Any]]:
    data = files("codecarbon") / "data" / "private_infra" / "global_energy_mix.json"
    mix: dict[str, dict[str, Any]] = json.loads(data.read_text(encoding="utf-8"))
    return mix
