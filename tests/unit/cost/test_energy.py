"""The energy meter: positive, proportional, deaf to settings files, and loud when nothing was measured."""

import math
import os
import time

import codecarbon
import pytest
from codecarbon.core import hardware_cache, util

from layerlottery.cost import energy
from layerlottery.cost.energy import EnergyMeter, EnergyReading
from layerlottery.errors import LayerLotteryError

HOSTILE = "[codecarbon]\nforce_cpu_power=99999\npue=7\nforce_ram_power=5000\nsave_to_file=true\ntracking_mode=machine\n"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower().startswith("codecarbon_"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    hardware_cache.clear_cache()


def work(seconds: float) -> None:
    """Compute for so many seconds of this process's CPU time, however busy the machine is."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def measure(seconds: float = 0.3) -> EnergyReading:
    meter = EnergyMeter()
    meter.start()
    work(seconds)
    return meter.stop()


def fake_probe(monkeypatch, *, mode="cpu_load"):
    monkeypatch.setattr(energy, "_cpu_power", lambda tracker: (mode, 100.0))


def test_reading_is_positive_and_adds_up():
    reading = measure()
    assert reading.kwh > 0
    assert reading.cpu_kwh > 0
    assert reading.ram_kwh > 0
    assert reading.gpu_kwh == 0
    assert reading.kwh == pytest.approx(reading.cpu_kwh + reading.gpu_kwh + reading.ram_kwh)
    assert reading.seconds >= 0.3
    assert reading.mode == "process"
    assert reading.cpu_watts > 0
    assert reading.power_source


def test_stated_watts_follow_cpu_time(monkeypatch):
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "100")
    reading = measure(1.0)
    by_hand = 100 * 1.0 / os.cpu_count() / 3.6e6  # watts, CPU seconds, threads of the machine
    assert reading.power_source == "cpu_load 100 W stated"
    assert reading.cpu_watts == 100
    assert reading.cpu_kwh == pytest.approx(by_hand, rel=0.15)


@pytest.mark.parametrize("folder", ["home", "here"])
def test_settings_files_are_ignored(tmp_path, folder):
    expected = measure()
    (tmp_path / folder / ".codecarbon.config").write_text(HOSTILE)
    hardware_cache.clear_cache()
    reading = measure()
    assert (reading.power_source, reading.cpu_watts) == (expected.power_source, expected.cpu_watts)
    watts = 3.6e6 * reading.kwh / reading.seconds
    assert watts < 10 * 3.6e6 * expected.kwh / expected.seconds


def test_malformed_settings_file_is_ignored(tmp_path):
    (tmp_path / "here" / ".codecarbon.config").write_text("no section\n")
    assert measure(0.1).kwh > 0


def test_settings_variables_are_ignored(monkeypatch):
    expected = measure()
    for name, value in {"PUE": "1000", "FORCE_RAM_POWER": "99999", "SAVE_TO_FILE": "true"}.items():
        monkeypatch.setenv(f"CODECARBON_{name}", value)
    reading = measure()
    assert reading.kwh / reading.seconds < 10 * expected.kwh / expected.seconds


@pytest.mark.parametrize("value", ["many", "0", "-5", "nan", "inf"])
def test_stated_watts_are_checked(monkeypatch, value):
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", value)
    with pytest.raises(LayerLotteryError, match="CODECARBON_FORCE_CPU_POWER"):
        EnergyMeter().start()


def test_leaves_no_files_and_no_output(tmp_path, capfd):
    measure(0.1)
    assert list((tmp_path / "here").iterdir()) == []
    assert list((tmp_path / "home").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_slurm_job_is_charged_its_cpu_time_only(monkeypatch):
    monkeypatch.setattr(util, "SLURM_JOB_ID", "7")  # scontrol is not even installed here
    reading = measure(0.1)
    assert reading.kwh > 0
    assert util.SLURM_JOB_ID == "7"


def test_failure_at_start_is_loud(monkeypatch):
    def broken(self):
        raise OSError("no\nmeter")

    monkeypatch.setattr(codecarbon.OfflineEmissionsTracker, "_ensure_hardware_ready", broken)
    with pytest.raises(LayerLotteryError, match="failed to start: OSError: no meter"):
        EnergyMeter().start()


def test_failure_of_construction_is_loud(monkeypatch):
    def broken(self):
        raise OSError("no scheduler")

    monkeypatch.setattr(codecarbon.OfflineEmissionsTracker, "_initialize_scheduler_state", broken)
    with pytest.raises(LayerLotteryError, match="failed to init: OSError: no scheduler"):
        EnergyMeter().start()


def test_failure_of_a_measurement_is_loud(monkeypatch):
    meter = EnergyMeter()
    meter.start()

    def broken(self):
        raise OSError("gone")

    monkeypatch.setattr(codecarbon.OfflineEmissionsTracker, "_do_measurements", broken)
    time.sleep(0.06)  # codecarbon takes no last measurement within 50 ms of the one before
    with pytest.raises(LayerLotteryError, match="failed to stop: OSError: gone"):
        meter.stop()


def test_end_without_a_record_is_loud(monkeypatch):
    meter = EnergyMeter()
    meter.start()
    monkeypatch.setattr(codecarbon.OfflineEmissionsTracker, "stop", lambda self: None)
    with pytest.raises(LayerLotteryError, match="without a measurement"):
        meter.stop()


def test_zero_is_loud(monkeypatch):
    monkeypatch.setattr(codecarbon.OfflineEmissionsTracker, "_do_measurements", lambda self: None)
    meter = EnergyMeter()
    meter.start()
    with pytest.raises(LayerLotteryError, match="measured"):
        meter.stop()


def test_missing_gpu_is_loud():
    with pytest.raises(LayerLotteryError, match=r"GPUs \[97\]"):
        EnergyMeter(gpu_ids=[97]).start()


def test_stop_needs_a_start():
    with pytest.raises(LayerLotteryError, match="without having been started"):
        EnergyMeter().stop()
    meter = EnergyMeter()
    meter.start()
    meter.stop()
    with pytest.raises(LayerLotteryError, match="without having been started"):
        meter.stop()


def test_rapl_is_shared_out_by_cpu_time(monkeypatch):
    fake_probe(monkeypatch, mode="intel_rapl")
    meter = EnergyMeter()
    meter.start()
    monkeypatch.setattr(energy, "_own_seconds", lambda: meter._own + 1.0)
    monkeypatch.setattr(energy, "_machine_seconds", lambda: meter._machine + 4.0)
    work(0.2)
    tracker = meter._tracker
    reading = meter.stop()
    assert reading.cpu_kwh == pytest.approx(tracker.final_emissions_data.cpu_energy / 4)
    assert reading.power_source == "rapl by share of CPU time"
    assert reading.cpu_watts == 100


def test_design_power_where_a_meter_is_read():
    meter = EnergyMeter()
    meter.start()
    assert energy._table_watts(meter._tracker) > 0
    meter.stop()


def test_cpu_seconds_of_the_machine_hold_our_own():
    own, machine = energy._own_seconds(), energy._machine_seconds()
    work(0.3)
    own, machine = energy._own_seconds() - own, energy._machine_seconds() - machine
    assert 0.25 < own <= machine + 0.05
    assert math.isfinite(machine)


@pytest.mark.slow
def test_three_times_the_work_is_three_times_the_energy(monkeypatch):
    monkeypatch.setenv("CODECARBON_FORCE_CPU_POWER", "200")
    short, long = measure(3.0), measure(9.0)
    assert long.cpu_kwh / short.cpu_kwh == pytest.approx(3, rel=0.1)
    assert long.ram_kwh / long.seconds == pytest.approx(short.ram_kwh / short.seconds, rel=0.1)
