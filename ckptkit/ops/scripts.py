"""The training's own scripts, those that are named and those that its settings name: read, and never run."""

import os
from collections.abc import Iterator, Mapping, Sequence

from ckptkit.errors import UsageError
from ckptkit.model.advice import ScriptReport
from ckptkit.scripts import SUFFIXES, NoScriptError, places
from ckptkit.system import small_files

LARGEST_BYTES = 1 << 20
MOST_NAMED = 50  # scripts in one file of settings


def is_script(file: str) -> bool:
    """Whether a file's name says that it is a script."""
    return file.endswith(SUFFIXES)


def scripts(
    paths: Sequence[str], config: str = "", settings: Mapping[str, object] | None = None
) -> tuple[ScriptReport, ...]:
    """Given the scripts that a person names, return where each of them deletes checkpoints. Raises UsageError.

    config: a training's own file: itself, if it is a script; else those that its settings name.
    """
    asked = [(path, "--script") for path in paths]
    if config and is_script(config):
        asked.append((config, "--config"))
    asked += [(path, "") for path in _named_in(settings or {}, os.path.dirname(config))]
    reports: dict[str, ScriptReport] = {}
    for path, flag in asked:
        real = os.path.realpath(path)
        if real not in reports:
            reports[real] = _script(path, flag)
    return tuple(reports.values())


def _script(path: str, flag: str) -> ScriptReport:
    """Look at one script. flag: what a person named it with: then one that can't be read is a UsageError."""
    try:
        raw = small_files.content(path, follow=True, largest=LARGEST_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if flag:
            raise UsageError(f"{flag} {path!r}: {reason}") from None
        return ScriptReport(path, reason, ())
    try:
        return ScriptReport(path, "", places(path, raw.decode("utf-8-sig", "replace")))
    except NoScriptError as error:
        return ScriptReport(path, str(error), ())


def _named_in(settings: Mapping[str, object], directory: str) -> Iterator[str]:
    """The scripts that settings name, relative to their file's directory or to the current one."""
    words = [word for text in _texts(settings) if ".py" in text or "sh" in text for word in (text, *text.split())]
    names = [word for word in dict.fromkeys(words) if is_script(word)]
    directories = dict.fromkeys((directory, ""))
    paths = (os.path.join(folder, name) for name in names for folder in directories)
    for path, _ in zip((path for path in paths if os.path.isfile(path)), range(MOST_NAMED), strict=False):
        yield path


def _texts(settings: object) -> list[str]:
    """Every text in settings, at any depth; YAML's own references make circles."""
    texts, left, visited = list[str](), [settings], set[int]()
    while left:
        value = left.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in visited:
            visited.add(id(value))
            left += [*value, *value.values()] if isinstance(value, Mapping) else value
    return texts
