"""From energy to CO2-equivalent, by the calculator of Lacoste et al. (2019)."""

from __future__ import annotations


def lacoste_co2(watts: float, seconds: float, intensity: float) -> float:
    """kg CO2-equivalent of a processor's design power (W) over a time (s), at `intensity` kg a kWh.

    Lacoste et al., Quantifying the carbon emissions of machine learning (2019); unrounded.
    """
    kwh = watts * (seconds / 3600) / 1000
    return kwh * intensity


def measured(power_source: str | None) -> bool:
    """Whether power was read from a meter, RAPL's or NVML's; what design power gives is time in other units."""
    return power_source in ("rapl", "gpu")
