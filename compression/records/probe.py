"""What a probe measured on a machine of its own: the report that it writes, read as a stranger's.

A report is JSON, of `probing/probe.py` or of the page that runs files in a browser. Every field is checked; names in it
are data, one line of printable characters each.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from compression.errors import InvalidFile, shown
from compression.records.documents import read_json
from compression.records.measurement import Latency, Machine

FORMAT = "compression-lab probe report"
VERSION = 1

MOST_CHARACTERS = 4_000_000
MOST_FILES, MOST_IMAGES, MOST_THREADS = 100, 1_000, 1_024
LONGEST_MS = 3_600_000.0


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text).strip()


Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(max_length=80), AfterValidator(_one_line)]
Milliseconds = Annotated[float, Field(gt=0, le=LONGEST_MS)]
Ratio = Annotated[float, Field(gt=0, le=1e6)]
Bytes = Annotated[int, Field(ge=0, le=1 << 50)]
Class = Annotated[int, Field(ge=0, lt=1 << 16)]
Confidence = Annotated[float, Field(ge=0, le=1)]


class _Checked(BaseModel):
    """Values of the very type that is named; what a newer probe writes besides is left out."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")


class ProbedPace(_Checked):
    """Milliseconds for one image with so many threads, in turns with the fp32 file; see `Latency`."""

    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    pairs: Annotated[int, Field(ge=1, le=100_000)]
    warm_up: Annotated[int, Field(ge=0, le=10_000)]
    batch: Annotated[int, Field(ge=1, le=1_024)] = 1
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    p95_ms: Milliseconds
    p99_ms: Milliseconds
    baseline_p50_ms: Milliseconds
    ratio: Ratio
    ratio_low: Ratio
    ratio_high: Ratio
    drift: Annotated[float, Field(ge=0, le=1e6)]
    load: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    temperature_c: Annotated[float, Field(ge=-100, le=200)] | None = None
    clock_mhz: Annotated[float, Field(ge=0, le=100_000)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.p50_ms <= self.p90_ms <= self.p95_ms <= self.p99_ms:
            raise ValueError("the percentiles of the milliseconds must not fall")
        if not self.ratio_low <= self.ratio <= self.ratio_high:
            raise ValueError("the ratio must lie in its interval")
        return self


class ProbedFile(_Checked):
    """One file: its times, the memory that a process takes at its peak, the class of each image; or why there is none.

    `load_bytes` is what the process grew by when it loaded the file, `peak_bytes` when it had answered an image too.
    `of` is there for a `.tflite` file: the ONNX file of the same run.
    """

    sha256: Hash
    of: Hash | None = None
    latency: Annotated[list[ProbedPace], Field(max_length=8)] = []
    load_bytes: Bytes | None = None
    peak_bytes: Bytes | None = None
    classes: Annotated[list[Class], Field(max_length=MOST_IMAGES)] = []
    confidences: Annotated[list[Confidence], Field(max_length=MOST_IMAGES)] = []
    error: Annotated[str, Field(max_length=500), AfterValidator(_one_line)] = ""


class ProbedMachine(_Checked):
    """Where it was measured. `saturates`: whether 8-bit products were cut off at 16 bits when that was tried."""

    kind: Literal["probe", "browser"] = "probe"
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: Name = ""
    cpu: Name
    cores: Annotated[int, Field(ge=1, le=100_000)]
    system: Name
    python: Name = ""
    onnxruntime: Name
    litert: Name = ""
    vnni: bool | None = None
    saturates: bool | None = None
    memory_bytes: Bytes | None = None


class ProbeReport(_Checked):
    """All of it. The images are the first `images` of the fixed order of `n_test`."""

    format: Literal["compression-lab probe report"]
    version: Literal[1]
    data_fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
    n_test: Annotated[int, Field(ge=1, le=1 << 31)]
    images: Annotated[int, Field(ge=1, le=MOST_IMAGES)]
    machine: ProbedMachine
    files: Annotated[list[ProbedFile], Field(min_length=1, max_length=MOST_FILES)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.images > self.n_test:
            raise ValueError(f"{self.images:,} images of {self.n_test:,} are more than there are")
        named = [file.sha256 for file in self.files], [file.of for file in self.files if file.of]
        if any(len(set(found)) < len(found) for found in named):
            raise ValueError("a file stands in it twice")
        for file in self.files:
            if len(file.classes) not in (0, self.images) or len(file.confidences) != len(file.classes):
                raise ValueError(f"a file must answer all {self.images:,} images, or none")
        return self


@dataclass(frozen=True)
class ProbeMachine(Machine):
    """A machine that a report tells of. Of `kind` 'probe' or 'browser'; '' is one that measured by itself.

    `litert` is LiteRT's version where it ran `.tflite` files of the runs, '' where it ran their ONNX files.
    """

    kind: str = ""
    name: str = ""
    saturates: bool | None = None
    memory_bytes: int | None = None
    litert: str = ""

    @property
    def title(self) -> str:
        """What its owner calls it, else its processor; a browser is said to be one."""
        called = self.name or self.cpu or "a machine without a name"
        if self.litert:
            return f"{called}, .tflite"
        return f"{called}, in the browser" if self.kind == "browser" else called

    @property
    def runtime(self) -> str:
        """What decides on its answers."""
        return f"LiteRT {self.litert}, {self.system}" if self.litert else super().runtime

    @property
    def runtime_version(self) -> str:
        """'1.27.0' of ONNX Runtime, or 'LiteRT 2.3.0'."""
        return f"LiteRT {self.litert}" if self.litert else self.onnxruntime


@dataclass(frozen=True)
class ProbeLatency(Latency):
    """A latency of a report, with what else was noted. `report` is the id of the report."""

    p90_ms: float = 0.0
    p99_ms: float = 0.0
    temperature_c: float | None = None
    clock_mhz: float | None = None
    peak_bytes: int | None = None
    report: str = ""


@dataclass(frozen=True)
class ProbePackage:
    """The zip for another machine. `without` has the title of each run that has no `.tflite` form, and the reason."""

    content: bytes
    without: tuple[tuple[str, str], ...] = ()


def read_report(content: bytes) -> ProbeReport:
    """The report in a file. Raises `InvalidFile` with one sentence for anything else."""
    if len(content) > MOST_CHARACTERS:
        raise _refused(f"it has {len(content):,} bytes, and at most {MOST_CHARACTERS:,} are allowed")
    try:
        values = read_json(content.decode(), MOST_CHARACTERS)
    except ValueError as error:  # what is no text in UTF-8 too
        raise _refused(str(error)) from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise _refused(f"it must be JSON with the format {FORMAT!r}, as probe.py writes it")
    if values.get("version") != VERSION:
        raise _refused(f"its version is {shown(values.get('version'))}, and this program reads version {VERSION}")
    try:
        return ProbeReport.model_validate(values)
    except ValidationError as error:
        raise _refused(_first(error)) from None


def _refused(why: str) -> InvalidFile:
    return InvalidFile(f"This file is not a probe report: {why}.")


def _first(error: ValidationError) -> str:
    """The first fault: 'files.0.latency.0.p50_ms is -1: Input should be greater than 0'."""
    first = error.errors(include_url=False, include_context=False)[0]
    place, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if not place or isinstance(first["input"], dict):
        return f"{place}: {why}" if place else why
    return f"{place} is {shown(first['input'])}: {why}"
