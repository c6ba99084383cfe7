"""Where a file is meant to run: does it fit, and roughly how long would it take? Facts with sources, rough estimates.

Everything computed here is *estimated*: a roofline (Williams et al. 2009) over the operators of the very file, with
what processors can do by their documents. Nothing is fitted to measurements of the zoo's networks. No torch in here:
pages list the catalogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from compression.errors import UnknownName

if TYPE_CHECKING:
    from compression.measure.roofline import Work

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
ATTAINED = 0.35
"""Share of a processor's peak that convolutions for one image reach: an assumption, the same for all devices."""

MCU_OVERHEAD_S = 20e-6


@dataclass(frozen=True)
class Runtime:
    """What runs the network there. One that does not `decode` packed weights stores them dense, 8 or 32 bits each."""

    title: str
    decodes: bool
    own_flash_bytes: int
    own_ram_bytes: int


TFLM = Runtime("TensorFlow Lite Micro", decodes=False, own_flash_bytes=60 * KB, own_ram_bytes=16 * KB)
ORT = Runtime("ONNX Runtime", decodes=True, own_flash_bytes=20 * MB, own_ram_bytes=30 * MB)


@dataclass(frozen=True)
class Device:
    """One device, computing on one core or on its GPU.

    Rates in multiply-accumulates a second, as attained; `watts` while computing. `source` says where flash, RAM, clock
    and bandwidth are documented, `basis` how the rates follow.
    """

    title: str
    kind: Literal["microcontroller", "computer", "phone", "accelerator", "cloud"]
    runtime: Runtime
    flash_bytes: int
    ram_bytes: int
    clock_hz: float
    bytes_per_second: float
    fp32_macs_per_second: float
    int8_macs_per_second: float
    seconds_per_operator: float
    watts: float
    source: str
    basis: str


@dataclass(frozen=True)
class Need:
    """What a file needs on a device, in bytes; `weights` are as its runtime stores them.

    Where it is `measured`, weights are the bytes of the very file and activations what its runtime took for an image.
    """

    weights: int
    runtime_flash: int
    decoded_weights: int
    activations: int
    runtime_ram: int
    measured: bool = False

    @property
    def flash(self) -> int:
        """Weights and program."""
        return self.weights + self.runtime_flash

    @property
    def ram(self) -> int:
        """Activations at their peak, weights that had to be decoded, and the runtime's own."""
        return self.activations + self.decoded_weights + self.runtime_ram


@dataclass(frozen=True)
class Fit:
    """Whether a file fits, and estimates for one image; `roofline_ms` holds were it to fit."""

    device: Device
    need: Need
    roofline_ms: float

    @property
    def flash(self) -> bool:
        """Whether weights and program fit."""
        return self.need.flash <= self.device.flash_bytes

    @property
    def ram(self) -> bool:
        """Whether what lies in RAM fits."""
        return self.need.ram <= self.device.ram_bytes

    @property
    def fits(self) -> bool:
        """Both in flash and in RAM."""
        return self.flash and self.ram

    @property
    def estimated_ms(self) -> float | None:
        """Milliseconds for one image; None where the file does not fit."""
        return self.roofline_ms if self.fits else None

    @property
    def estimated_mj(self) -> float | None:
        """Millijoules for one image; None where the file does not fit."""
        return self.roofline_ms * self.device.watts if self.fits else None


@dataclass(frozen=True)
class OnBoard:
    """What a `.tflite` file needs under TFLM: its bytes, those of the program, and the arena that TFLM took."""

    file_bytes: int
    program_bytes: int
    arena_bytes: int


@dataclass(frozen=True)
class Load:
    """What of a file matters to a device: `work` of its operators, its bytes, its weights, its peak of activations."""

    work: "tuple[Work, ...]"
    file_bytes: int
    weights: int
    activation_bytes: int

    @property
    def integer(self) -> bool:
        """Whether most of its multiply-accumulates are of 8 bits."""
        return sum(w.macs for w in self.work if w.integer) > sum(w.macs for w in self.work) / 2


@dataclass(frozen=True)
class Deployment:
    """`fits` by the device's name. `peak_bytes` of live activations for one image, in the graph that runs here.

    `estimated_ms` is the roofline's estimate for one image on this machine, to be compared with what was measured.
    """

    fits: dict[str, Fit]
    peak_bytes: int
    peak_operator: str
    operators: int
    integer: bool
    estimated_ms: float


def fit(load: Load, device: Device) -> Fit:
    """Does a file fit on a device, and how long would an image take there?"""
    return Fit(device, _need(load, device.runtime), estimate_ms(load.work, device))


def on_board(found: Deployment, board: OnBoard) -> Deployment:
    """With what was measured in place of the estimate on each device of TFLM."""

    def need(known: Fit) -> Need:
        ram = known.device.runtime.own_ram_bytes
        return Need(board.file_bytes, board.program_bytes, 0, board.arena_bytes, ram, measured=True)

    fits = {
        name: replace(known, need=need(known)) if known.device.runtime == TFLM else known
        for name, known in found.fits.items()
    }  # fmt: skip
    return replace(found, fits=fits)


def estimate_ms(work: "Sequence[Work]", device: Device) -> float:
    """Milliseconds for one image: the roofline of each operator plus what starting it costs."""
    seconds = 0.0
    for each in work:
        rate = device.int8_macs_per_second if each.integer else device.fp32_macs_per_second
        seconds += max(each.macs / rate, each.bytes / device.bytes_per_second) + device.seconds_per_operator
    return 1e3 * seconds


def device(name: str) -> Device:
    """The device of that name; raises `UnknownName`."""
    if name not in DEVICES:
        raise UnknownName("device", name, DEVICES)
    return DEVICES[name]


def transfer_seconds(size_bytes: int, network: str) -> float:
    """Seconds that a download takes at a network's usual rate; raises `UnknownName`."""
    if network not in NETWORKS:
        raise UnknownName("network", network, NETWORKS)
    return 8 * size_bytes / NETWORKS[network]


def _need(load: Load, runtime: Runtime) -> Need:
    dense = load.weights * (1 if load.integer else 4)
    stored = load.file_bytes if runtime.decodes else dense
    decoded = dense if runtime.decodes else 0
    return Need(stored, runtime.own_flash_bytes, decoded, load.activation_bytes, runtime.own_ram_bytes)


def _peak(clock_hz: float, macs_per_cycle: float) -> float:
    return clock_hz * macs_per_cycle * ATTAINED


NETWORKS = {"3G (3 Mbit/s)": 3e6, "4G (30 Mbit/s)": 30e6, "Wi-Fi (150 Mbit/s)": 150e6}
"""Usual rates in bits per second: round figures, assumed."""

DEVICES: dict[str, Device] = {
    "nano33": Device(
        "Arduino Nano 33 BLE", "microcontroller", TFLM, 1 * MB, 256 * KB, 64e6, 64e6 * 4, 64e6 * 0.12, 64e6 * 0.35,
        MCU_OVERHEAD_S, 0.02,
        "Nordic Semiconductor, nRF52840 Product Specification: Cortex-M4F, 64 MHz, 1 MB flash, 256 KB RAM",
        "0.35 MACs of 8 bits a cycle: assumed, two thirds of what Lai et al. 2018 report for the Cortex-M7",
    ),
    "stm32h7": Device(
        "STM32H743 (Cortex-M7)", "microcontroller", TFLM, 2 * MB, 1 * MB, 480e6, 480e6 * 4, 480e6 * 0.25, 480e6 * 0.58,
        MCU_OVERHEAD_S / 4, 0.25,
        "STMicroelectronics, STM32H743 datasheet DS12110: 480 MHz, 2 MB flash, 1 MB RAM",
        "0.58 MACs of 8 bits a cycle: 12.3 million in 99 ms at 216 MHz (Lai et al. 2018, table 1)",
    ),
    "esp32s3": Device(
        "ESP32-S3 (8 MB flash)", "microcontroller", TFLM, 8 * MB, 512 * KB, 240e6, 240e6 * 4, 240e6 * 0.15,
        240e6 * 0.55, MCU_OVERHEAD_S / 2, 0.35,
        "Espressif, ESP32-S3 Series Datasheet: Xtensa LX7, 240 MHz, 512 KB SRAM; module with 8 MB flash",
        "0.55 MACs of 8 bits a cycle: assumed, the Cortex-M7's figure",
    ),
    "pi4": Device(
        "Raspberry Pi 4", "computer", ORT, 16 * GB, 2 * GB, 1.5e9, 4e9, _peak(1.5e9, 4), _peak(1.5e9, 8), 2e-6, 4.0,
        "Raspberry Pi 4 product brief: Cortex-A72, 1.5 GHz, from 2 GB LPDDR4-3200",
        "peak of one core: 4 fp32 or 8 int8 MACs a cycle (128-bit NEON, no dot product)",
    ),
    "pi5": Device(
        "Raspberry Pi 5", "computer", ORT, 16 * GB, 4 * GB, 2.4e9, 10e9, _peak(2.4e9, 8), _peak(2.4e9, 32), 1e-6, 6.0,
        "Raspberry Pi 5 product brief: Cortex-A76, 2.4 GHz, from 4 GB LPDDR4X-4267",
        "peak of one core: 8 fp32 or 32 int8 MACs a cycle (two 128-bit units, dot product)",
    ),
    "phone": Device(
        "Phone, middle class", "phone", ORT, 64 * GB, 4 * GB, 2.4e9, 12e9, _peak(2.4e9, 8), _peak(2.4e9, 32), 1e-6, 2.0,
        "Arm Cortex-A78 Software Optimization Guide; a core at 2.4 GHz, as in Qualcomm's Snapdragon 778G",
        "peak of one core: 8 fp32 or 32 int8 MACs a cycle",
    ),
    "flagship": Device(
        "Phone, flagship", "phone", ORT, 128 * GB, 8 * GB, 3.3e9, 40e9, _peak(3.3e9, 16), _peak(3.3e9, 64), 0.6e-6, 4.0,
        "Arm Cortex-X4 Software Optimization Guide; a core at 3.3 GHz, as in Qualcomm's Snapdragon 8 Gen 3",
        "peak of one core: 16 fp32 or 64 int8 MACs a cycle (four 128-bit units)",
    ),
    "orin": Device(
        "Jetson Orin Nano 8 GB", "accelerator", ORT, 64 * GB, 8 * GB, 0.625e9, 68e9, _peak(0.625e9, 1024),
        10e12 * ATTAINED, 8e-6, 15.0,
        "NVIDIA, Jetson Orin Nano Series data sheet: 1024 CUDA cores, 625 MHz, 68 GB/s, 20 dense INT8 TOPS, 7 to 15 W",
        "peak of the GPU: one fp32 MAC a core and cycle; 10 T int8 MACs a second on tensor cores",
    ),
    "laptop": Device(
        "Laptop computer", "computer", ORT, 256 * GB, 8 * GB, 4.0e9, 40e9, _peak(4.0e9, 16), _peak(4.0e9, 64), 0.4e-6,
        15.0,
        "Intel 64 and IA-32 Optimization Reference Manual: AVX2 and AVX-VNNI; a performance core at 4 GHz",
        "peak of one core: 16 fp32 or 64 int8 MACs a cycle",
    ),
    "cloud": Device(
        "Cloud vCPU", "cloud", ORT, 8 * GB, 4 * GB, 3.2e9, 10e9, _peak(3.2e9, 32), _peak(3.2e9, 128), 0.4e-6, 8.0,
        "Intel 64 and IA-32 Optimization Reference Manual: AVX-512 and VNNI; a Xeon core at 3.2 GHz, as in c6i",
        "peak of one core: 32 fp32 or 128 int8 MACs a cycle",
    ),
}  # fmt: skip
"""The catalogue, from small to large."""
