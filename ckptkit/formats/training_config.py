"""A training's own settings file: what train.py takes with `--config`, or any table with the Trainer's names.

JSON needs nothing; YAML needs PyYAML, which whatever trains from such a file has.
"""

from __future__ import annotations

from typing import Any

from ckptkit.errors import UsageError
from ckptkit.formats import bounded

YAML = (".yaml", ".yml")
SUFFIXES = (*YAML, ".json")
SECTIONS = ("training_args", "training_arguments", "training", "trainer", "train")
LARGEST_BYTES = 1 << 20  # a person wrote it


def is_one(path: str) -> bool:
    """Whether a file's name says that it holds a training's settings."""
    return path.endswith(SUFFIXES)


def settings(path: str) -> dict[str, Any]:
    """Given such a file, return {name: value}, names as in Python. Raises UsageError if it can't be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--config {path!r}: {error.strerror}") from None
    if len(raw) > LARGEST_BYTES:
        raise UsageError(f"--config {path!r}: is too large for a file of settings")
    table = _yaml(path, raw) if path.endswith(YAML) else _json(path, raw)
    if not isinstance(table, dict):
        raise UsageError(f"--config {path!r}: must be a table of settings such as `save_total_limit: 2`")
    return _named_as_in_python(table)


def _named_as_in_python(table: dict[Any, Any]) -> dict[str, Any]:
    """The Trainer's settings may stand one level down; what stands above beats them."""
    below = {section: table[section] for section in SECTIONS if isinstance(table.get(section), dict)}
    flat = {key: value for section in below.values() for key, value in section.items()}
    flat |= {key: value for key, value in table.items() if key not in below}
    return {str(key).replace("-", "_"): value for key, value in flat.items()}


def _json(path: str, raw: bytes) -> Any:
    try:
        return bounded.loads(raw)
    except (ValueError, bounded.TooLargeError) as error:
        raise UsageError(f"--config {path!r}: can't be read as JSON: {error}") from None


def _yaml(path: str, raw: bytes) -> Any:
    try:
        import yaml
    except ImportError:
        mend = "pip install pyyaml, or give the same settings as .json"
        raise UsageError(f"--config {path!r}: this Python has no PyYAML to read it with; {mend}") from None
    try:
        return yaml.safe_load(raw) or {}  # an empty one sets nothing
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        message = " ".join(str(error).split())
        raise UsageError(f"--config {path!r}: can't be read as YAML: {message}") from None
