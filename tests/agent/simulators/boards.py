"""Boards as their kernels show them: small files under a root of the test's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_MEMORY: Final = {
    "proc/self/statm": "30000 25000 8000 1 0 20000 0\n",
    "proc/meminfo": "MemTotal:        3884372 kB\nMemFree:          12320 kB\nMemAvailable:    1942186 kB\n",
}
PI4: Final = _MEMORY | {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "61836\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
    "sys/class/hwmon/hwmon0/temp1_input": "61836\n",
    "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
}
"""Too weak a supply, now and before: bits 0, 2, 16 and 18."""
ORIN: Final = _MEMORY | {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "58156\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_type": "critical\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "104500\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_type": "passive\n",
    "sys/class/thermal/thermal_zone0/trip_point_1_temp": "99000\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "63500\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
    "sys/class/thermal/thermal_zone10/type": "PMIC-Die\n",
    "sys/class/thermal/thermal_zone10/temp": "100000\n",
    "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
    "sys/class/thermal/cooling_device0/cur_state": "0\n",
    "sys/class/thermal/cooling_device1/type": "devfreq-17000000.gpu\n",
    "sys/class/thermal/cooling_device1/cur_state": "2\n",
    "sys/class/thermal/cooling_device2/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device2/cur_state": "1\n",
    "sys/class/hwmon/hwmon3/name": "ina3221\n",
    "sys/class/hwmon/hwmon3/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon3/in1_input": "5000\n",
    "sys/class/hwmon/hwmon3/curr1_input": "1000\n",
    "sys/class/hwmon/hwmon3/in2_label": "VDD_CPU_GPU_CV\n",
    "sys/class/hwmon/hwmon3/in2_input": "4980\n",
    "sys/class/hwmon/hwmon3/curr2_input": "250\n",
    "sys/class/hwmon/hwmon3/in4_input": "2\n",
    "sys/class/hwmon/hwmon3/in7_label": "sum of shunt voltages\n",
}
"""Its vision processor is off, its PMIC says what it always says, its GPU is slowed down."""
SERVER: Final = _MEMORY | {
    "sys/class/hwmon/hwmon0/name": "power_meter\n",
    "sys/class/hwmon/hwmon0/power1_average": "42500000\n",
    "sys/class/hwmon/hwmon1/name": "amdgpu\n",
    "sys/class/hwmon/hwmon1/power1_label": "PPT\n",
    "sys/class/hwmon/hwmon1/power1_input": "11000000\n",
    "sys/class/hwmon/hwmon1/power1_average": "12000000\n",
    "sys/class/hwmon/hwmon1/power1_cap": "15000000\n",
}
"""A machine without thermal zones."""


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write a board's files, over what is there; return the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root
