"""Settings and where each came from: defaults < ckptkit.toml in the run < CKPTKIT_* < flags.

Bad configuration dies here, with the object, the fault, the origin and the next step, before anything is looked at.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ckptkit import arguments
from ckptkit.errors import UnreadableRun, UsageError
from ckptkit.policy.rules import (
    Rules,
    Share,
    count,
    duration,
    limit,
    parse_argument,
    parse_best,
    parse_range,
    parse_target,
)
from ckptkit.system import small_files

FILE = "ckptkit.toml"
# The disk's word, not a fault of the file: nobody has to correct it.
DISK_ERRNOS = frozenset({errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EREMOTEIO})
PREFIX = "CKPTKIT_"
# Ours, but no settings: of the scripts, tests and benchmarks, and what a child of the monitor is told.
NO_SETTINGS = ("PYTHON", "STATE", "CALLED", "SEED", "EXHAUSTIVE", "MUTANT")
NO_SETTINGS_BEGIN = ("REPLAY", "ALERT")
TRUST = "must be a name with dots that begins with a package, such as pkg.module.Class or pkg.*"


def parse_trust(text: str) -> tuple[str, ...]:
    """Given patterns with commas between them, return them. Raises ValueError."""
    patterns = tuple(pattern.strip() for pattern in text.split(","))
    for pattern in patterns:
        parts = pattern.split(".")
        is_name = all(part.replace("*", "x").isidentifier() for part in parts)
        # "*" alone, or "*.system", would trust what any package can do.
        if not is_name or "*" in parts[0] or len(parts) == 1:
            raise ValueError(TRUST)
    return patterns


PARSERS: dict[str, Callable[[str], Any]] = {
    "keep_last": parse_range,
    "keep_best": parse_best,
    "keep_every": count,
    "keep_within": duration,
    "free_target": parse_target,
    "max_delete": limit,
    "keep_resumable": count,
    "trust": parse_trust,
}


class WrittenValue(NamedTuple):
    """A value as it was written, and where."""

    text: str
    origin: str


DEFAULTS = {"keep_last": WrittenValue("2", "the default")}


Flags = Mapping[str, str | Sequence[str] | None]


def rules(
    run: str,
    flags: Flags,
    environ: Mapping[str, str],
    volume_bytes: int,
    file: str | None = None,
    asked: Mapping[str, object] | None = None,
) -> Rules:
    """Given where settings may stand, return the rules that hold for a run. Raises UsageError.

    flags: {key: text or None}. volume_bytes: what a free target in percent is of. file: read instead of the run's own.
    asked: {key: value or None} from Python, which beats all.
    """
    values: dict[str, Any] = {key: value for key, value in (asked or {}).items() if value is not None}
    settings = DEFAULTS | _settings(run, flags, environ, file)
    values |= {key: _parse(key, setting, volume_bytes) for key, setting in settings.items() if key not in values}
    target = values.get("free_target")
    if isinstance(target, str):
        values["free_target"] = _bytes(parse_argument("free_target", target, parse_target), volume_bytes)
    return Rules(**{key: value for key, value in values.items() if key in Rules._fields})


def keep_resumable(run: str, flags: Flags, environ: Mapping[str, str], file: str | None = None) -> int | None:
    """Given the same, return how many checkpoints `strip` leaves resumable; None: nobody said. Raises UsageError."""
    setting = _settings(run, flags, environ, file).get("keep_resumable")
    return None if setting is None else int(_parse("keep_resumable", setting, 0))


def trust(run: str, flags: Flags, environ: Mapping[str, str], file: str | None = None) -> tuple[str, ...]:
    """Given the same, return the patterns of names that a pickle may call although no allow-list has them.

    In the file a list, in the environment with commas, as a flag each its own; () if nobody said. Raises UsageError.
    """
    setting = _settings(run, flags, environ, file).get("trust")
    return () if setting is None else tuple(_parse("trust", setting, 0))


def _settings(run: str, flags: Flags, environ: Mapping[str, str], file: str | None) -> dict[str, WrittenValue]:
    settings = _from_file(os.path.join(run, FILE) if file is None else file, required=file is not None)
    settings.update(_from_environment(environ))
    typed = {
        key: text if isinstance(text, str) else ",".join(text) for key, text in flags.items() if text or text == ""
    }
    return settings | {key: WrittenValue(text, option(key)) for key, text in typed.items()}


def option(key: str) -> str:
    """The flag's name of a setting."""
    return "--" + key.replace("_", "-")


def _from_file(path: str, required: bool) -> dict[str, WrittenValue]:
    try:
        raw = _typed_file(path) if required else small_files.content(path, follow=True)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError(f"--config {path!r}: no such file") from None
        return {}
    except OSError as error:
        if error.errno in DISK_ERRNOS:
            raise UnreadableRun(f"{path} can't be read: {error.strerror}; try again") from None
        place, fix = (f"--config {path!r}", "") if required else (path, "; correct or remove it")
        raise UsageError(f"{place}: {error.strerror}{fix}; nothing was changed") from None
    table = _toml(path, raw)
    _require_known(f"{path}: ", table, PARSERS)
    try:
        return {key: WrittenValue(_written(path, key, value), path) for key, value in table.items() if value != []}
    except ValueError:  # a hexadecimal number of thousands of digits has no text
        raise UsageError(f"{path}: a number is too long; correct or remove it; nothing was changed") from None


def _written(path: str, key: str, value: object) -> str:
    """A value of the file as one would type it. Raises UsageError if it is of another kind."""
    if key == "trust" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if key == "trust" or isinstance(value, bool) or not isinstance(value, (str, int)):
        text = str(value).lower() if isinstance(value, bool) else arguments.shown(value)
        raise UsageError(f"{path}: {key} = {text}: {_must(key)}; nothing was changed")
    return str(value)


def _must(key: str) -> str:
    """What a setting must be, in the words of its parser."""
    if key == "trust":
        return 'must be a list of names, such as trust = ["pkg.*"]'
    try:
        PARSERS[key]("")
    except ValueError as error:
        return str(error)
    return ""


def _typed_file(path: str) -> bytes:
    """What a person typed as --config may be a pipe, such as <(...)."""
    with open(path, "rb") as file:
        return file.read(small_files.LARGEST_BYTES)


def _toml(path: str, raw: bytes) -> dict[str, object]:
    import importlib

    try:
        toml = importlib.import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10
        toml = importlib.import_module("tomli")
    try:
        table: dict[str, object] = toml.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are children of the first
        raise UsageError(f"{path}: {error}; {_quoted(raw, str(error))}; nothing was changed") from None
    return table


def _quoted(raw: bytes, error: str) -> str:
    """What to do about a file that is no TOML: text without quotes is what people write most."""
    at = re.search(r"at line (\d+)", error)
    line = raw.decode(errors="replace").splitlines()[int(at[1]) - 1 :][:1] if at else []
    bare = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\d*[A-Za-z%][\w.:%-]*)\s*", line[0]) if line else None
    return f'text needs quotes: {bare[1]} = "{bare[2]}"' if bare else "correct or remove it"


def _from_environment(environ: Mapping[str, str]) -> dict[str, WrittenValue]:
    names = {PREFIX + key.upper(): key for key in PARSERS}
    ours = [name for name in environ if name.startswith(PREFIX) and not _is_no_setting(name.removeprefix(PREFIX))]
    _require_known("", ours, names)
    return {names[name]: WrittenValue(environ[name], name) for name in ours}


def _is_no_setting(name: str) -> bool:
    return name in NO_SETTINGS or name.startswith(NO_SETTINGS_BEGIN)


def _require_known(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """A typo in a setting must not leave the default in its place. Raises UsageError."""
    settings = tuple(known)
    for name in names:
        if name not in settings:
            import difflib

            bare = {setting.removeprefix(PREFIX): setting for setting in settings}  # what all have in common is no hint
            near = difflib.get_close_matches(name.removeprefix(PREFIX), bare, 1)
            hint = f"did you mean {bare[near[0]]}? " if near else ""
            raise UsageError(f"{where}unknown setting {arguments.shown(name)}: {hint}known: {', '.join(settings)}")


def _parse(key: str, setting: WrittenValue, volume_bytes: int) -> Any:
    try:
        value = PARSERS[key](setting.text)
    except ValueError as error:
        shown = arguments.shown(setting.text)
        raise UsageError(f"{key.replace('_', '-')} {shown}: {error} (set by {setting.origin})") from None
    return _bytes(value, volume_bytes) if isinstance(value, Share) else value


def _bytes(target: int | Share, volume_bytes: int) -> int:
    """A share of a volume that does not tell its size is a byte: 0 would be no target."""
    return max(1, int(target * volume_bytes)) if isinstance(target, Share) else target
