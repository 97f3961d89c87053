"""What a board reports, read from a made-up Orin's files (names and units as the kernel documents them)."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.engine import board

# Units of the kernel's documentation: hwmon in mV and mA, thermal zones 1/1000 degree, cpufreq kHz, devfreq Hz.
ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64\n",
    "var/lib/nvpmodel/status": "pmode:0002\n",
    "proc/self/status": "Name:\tpython\nVmPeak:\t 9000000 kB\nVmHWM:\t  524288 kB\n",
    "proc/meminfo": "MemTotal:        8388608 kB\nMemFree: 1 kB\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48500\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "51250\n",
    "sys/class/hwmon/hwmon0/name": "pwmfan\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon1/in1_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1500\n",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon1/in2_input": "4960\n",
    "sys/class/hwmon/hwmon1/curr2_input": "500\n",
    "sys/class/hwmon/hwmon1/in4_label": "sum of shunt voltages\n",
    "sys/class/hwmon/hwmon1/in4_input": "9\n",
    "sys/class/hwmon/hwmon1/curr4_input": "2000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1510400\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000\n",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
}


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    for name, content in ORIN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_what_it_is(orin: Path) -> None:
    assert board.board_model(orin) == "NVIDIA Jetson Orin Nano Developer Kit"
    assert board.jetson_release(orin) == "R36.4.3"
    assert board.power_mode(orin) == "pmode:0002"
    assert board.memory_gib(orin) == 8.0
    assert board.peak_memory_mib(orin) == 512.0


def test_power_is_volts_times_amperes_of_each_rail(orin: Path) -> None:
    """5 V x 1.5 A = 7.5 W; 4.96 V x 0.5 A = 2.48 W; the shunts' sum is no rail, nor is the fan."""
    assert board.power_w(orin) == pytest.approx({"VDD_IN": 7.5, "VDD_CPU_GPU_CV": 2.48})


def test_temperatures_leave_out_a_zone_that_is_switched_off(orin: Path) -> None:
    assert board.temperatures_c(orin) == {"cpu-thermal": 48.5, "gpu-thermal": 51.25}


def test_clocks_of_processor_and_gpu(orin: Path) -> None:
    assert board.clocks_mhz(orin) == pytest.approx({"cpu policy0": 1510.4, "17000000.gpu": 624.75})


def test_all_readings_name_their_unit(orin: Path) -> None:
    names = [name for name, _ in board.board_readings(orin)]
    assert names[:3] == ["power VDD_IN, W", "power VDD_CPU_GPU_CV, W", "temperature cpu-thermal, °C"]
    assert names[-1] == "clock 17000000.gpu, MHz"


def test_a_machine_that_reports_nothing(tmp_path: Path) -> None:
    assert list(board.board_readings(tmp_path)) == []
    assert board.board_model(tmp_path) is None
    assert board.jetson_release(tmp_path) is None
    assert board.power_mode(tmp_path) is None
    assert board.peak_memory_mib(tmp_path) is None


def test_a_processor_is_named_where_there_is_no_board(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor 3000\nprocessor\t: 1\n")
    assert board.board_model(tmp_path) == "A Processor 3000"


def test_this_process_s_memory_is_near_what_the_kernel_accounts() -> None:
    """The resource module reports the same high-water mark by a system call, in kB."""
    resource = pytest.importorskip("resource")
    peak = board.peak_memory_mib()
    if peak is None:
        pytest.skip("this kernel does not tell VmHWM")
    assert peak == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rel=0.2)
