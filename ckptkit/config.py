"""Settings and where each came from: defaults < ckptkit.toml in the run < CKPTKIT_* < flags.

Bad configuration dies here, with the object, the fault, the origin and the next step, before anything is looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from ckptkit import careful
from ckptkit.errors import UsageError
from ckptkit.policy import Best, Range, Rules
from ckptkit.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "ckptkit.toml"
# G is 1024³ as df -h prints it, GB is 1000³ as vendors sell it: the rule of coreutils.
UNITS = {unit + suffix: base**power
         for power, unit in enumerate(("", "K", "M", "G", "T"))
         for suffix, base in (("", 1024), ("iB", 1024), ("B", 1000))}  # fmt: skip
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Setting(NamedTuple):
    """A value as it was written, and where."""

    text: str
    origin: str


DEFAULTS = {"keep_last": Setting("2", "the default")}


def rules(
    run: str, flags: Mapping[str, str | None], environ: Mapping[str, str], volume_bytes: int, file: str | None = None
) -> Rules:
    """Given where settings may stand, return the rules that hold for a run. Raises UsageError.

    flags: {key: text or None}. volume_bytes: what a free target in percent is of. file: read instead of the run's own.
    """
    settings = DEFAULTS | _settings(run, flags, environ, file)
    values = {key: _parse(key, setting, volume_bytes) for key, setting in settings.items()}
    return Rules(**{key: value for key, value in values.items() if key in Rules._fields})


def keep_resumable(
    run: str, flags: Mapping[str, str | None], environ: Mapping[str, str], file: str | None = None
) -> int | None:
    """Given the same, return how many checkpoints `strip` leaves resumable; None: nobody said. Raises UsageError."""
    setting = _settings(run, flags, environ, file).get("keep_resumable")
    return None if setting is None else int(_parse("keep_resumable", setting, 0))


def _settings(
    run: str, flags: Mapping[str, str | None], environ: Mapping[str, str], file: str | None
) -> dict[str, Setting]:
    settings = _from_file(file or os.path.join(run, FILE), required=file is not None)
    settings.update(_from_environment(environ))
    settings.update((key, Setting(text, option(key))) for key, text in flags.items() if text is not None)
    return settings


def option(key: str) -> str:
    """The flag's name of a setting."""
    return "--" + key.replace("_", "-")


def _from_file(path: str, required: bool) -> dict[str, Setting]:
    try:
        raw = _typed_file(path) if required else careful.content(path, follow=True)
    except FileNotFoundError:
        if required:
            raise UsageError(f"--config {path!r}: no such file") from None
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; mend or remove it, nothing was changed") from None
    table = _toml(path, raw)
    for key in table:
        if key not in PARSERS:
            raise UsageError(f"{path}: unknown setting {key!r}; known: {', '.join(PARSERS)}")
    try:
        return {key: Setting(str(value), path) for key, value in table.items()}
    except ValueError:  # a hexadecimal number of thousands of digits has no text
        raise UsageError(f"{path}: a number is too long; mend or remove it, nothing was changed") from None


def _typed_file(path: str) -> bytes:
    """What a person typed as --config may be a pipe, such as <(...)."""
    with open(path, "rb") as file:
        return file.read(careful.LARGEST_BYTES)


def _toml(path: str, raw: bytes) -> dict[str, Any]:
    import importlib

    try:
        toml = importlib.import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10
        toml = importlib.import_module("tomli")
    try:
        table: dict[str, Any] = toml.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are children of the first
        raise UsageError(f"{path}: {error}; mend or remove it, nothing was changed") from None
    return table


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    names = {f"CKPTKIT_{key.upper()}": key for key in PARSERS}
    return {key: Setting(environ[name], name) for name, key in names.items() if name in environ}


def _parse(key: str, setting: Setting, volume_bytes: int) -> Any:
    try:
        value = PARSERS[key](setting.text)
    except ValueError as error:
        raise UsageError(f"{key.replace('_', '-')} {setting.text!r}: {error} (set by {setting.origin})") from None
    return int(value * volume_bytes) if isinstance(value, _Fraction) else value


class _Fraction(float):
    """Of the volume's size."""


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise ValueError("is no whole number")
    if int(text) == 0:
        raise ValueError("0 is refused; leave the rule out to not use it")
    return int(text)


def _limit(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _range(text: str) -> Range:
    low, dots, high = text.partition("..")
    found = Range(_count(low), _count(high if dots else low))
    if found.low > found.high:
        raise ValueError("the lower end comes first, as in 2..5")
    return found


def parse_best(text: str) -> Best:
    """Given METRIC[:min|max][=N] as typed, return the rule. Raises ValueError."""
    match = re.fullmatch(r"([^:=]+)(?::(min|max))?(?:=([0-9]+))?", text)
    if not match:
        raise ValueError("is not METRIC[:min|max][=N], as in eval_loss:min=2")
    metric, mode, count = match.groups()
    # As the Trainer's own greater_is_better: a loss is better when lower, all else when higher.
    return Best(metric, mode or ("min" if metric.endswith("loss") else "max"), _count(count or "1"))


def duration(text: str) -> float:
    """Given a duration as typed (90s, 30m, 12h, 2d, 1w), return seconds. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])", text, re.ASCII)
    if not match or float(match.group(1)) == 0:
        raise ValueError("is no duration such as 90s, 30m, 12h, 2d, 1w")
    return float(match.group(1)) * SECONDS[match.group(2)]


def size(text: str) -> int:
    """Given a size as typed (500M, 20G, 20GB, 1.5T, 4096), return bytes. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGT]?(?:iB|B)?)", text, re.ASCII)
    if not match or float(match.group(1)) == 0:
        raise ValueError("is no size such as 500M, 20G, 1.5T")
    return int(float(match.group(1)) * UNITS[match.group(2)])


def _free_target(text: str) -> int | _Fraction:
    if not text.endswith("%"):
        return size(text)
    percent = _count(text[:-1])
    if percent >= 100:
        raise ValueError("a volume can't be that free")
    return _Fraction(percent / 100)


PARSERS: dict[str, Callable[[str], Any]] = {
    "keep_last": _range,
    "keep_best": parse_best,
    "keep_every": _count,
    "keep_within": duration,
    "free_target": _free_target,
    "max_delete": _limit,
    "keep_resumable": _count,
}
