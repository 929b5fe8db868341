"""CO2-equivalent against codecarbon's own arithmetic and against a calculation by hand."""

import subprocess
import sys

import pytest
from codecarbon.core.emissions import Emissions
from codecarbon.core.units import Energy
from codecarbon.external.geography import GeoMetadata
from codecarbon.input import DataSource

from layerlottery.config.countries import carbon_intensity
from layerlottery.cost.carbon import lacoste_co2
from layerlottery.errors import LayerLotteryError


def by_codecarbon(country: str) -> float:
    emissions = Emissions(DataSource())
    return emissions.get_private_infra_emissions(Energy.from_energy(kWh=1), GeoMetadata(country_iso_code=country))


def test_every_country_is_codecarbons():
    countries = DataSource().get_global_energy_mix_data()
    assert {"USA", "BRA", "DEU"} <= set(countries)
    assert {c: carbon_intensity(c) for c in countries} == pytest.approx({c: by_codecarbon(c) for c in countries})


@pytest.mark.parametrize("country", ["XXX", "usa", "DE", ""])
def test_unknown_country_is_one_line(country):
    with pytest.raises(LayerLotteryError) as caught:
        carbon_intensity(country)
    message = str(caught.value)
    assert message.startswith(f"energy.country: no energy mix is known for {country!r}; allowed: ")
    assert "\n" not in message


def test_unknown_country_suggests_near_codes():
    with pytest.raises(LayerLotteryError, match="USA"):
        carbon_intensity("usa")


def test_lacoste_by_hand():
    assert lacoste_co2(250, 2 * 3600, 0.432) == pytest.approx(0.5 * 0.432)
    assert lacoste_co2(8, 1, 0.432) == pytest.approx(9.6e-7, rel=1e-12)


def test_without_torch():
    code = (
        "import sys, layerlottery.config.countries as c; c.carbon_intensity('USA'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
