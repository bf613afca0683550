"""diskreport for a box without rich: it must not need an installation at 3 a.m."""

from collections.abc import Iterator

from ckptkit.advice import Flag
from ckptkit.box import Box
from ckptkit.model import Volume
from ckptkit.report import outlook, rows, text
from ckptkit.report.text import human, printable


def board(box: Box) -> str:
    """Given what was found, return the page: flags, volumes, each run's plan, then what else takes room."""
    lines = [flags(box)] if box.flags else []
    lines += [_volume(volume) for volume in box.volumes]
    for made in box.plans:
        seen = outlook.of_run(box, made.run)
        lines += [text.plan(made, dry_run=True), *([f"  {printable(seen)}"] if seen else [])]
    return "\n".join([*lines, *(line for section in rows.sections(box) for line in _section(section))])


def flags(box: Box) -> str:
    """Given what was found, return its flags, each above the command that mends it."""
    return "\n".join(line for flag in box.flags for line in _flag(flag))


def _flag(flag: Flag) -> Iterator[str]:
    yield f"{flag.level.upper():<7}{printable(flag.message)}"
    if flag.command:
        yield f"       fix: {printable(flag.command)}"


def _volume(v: Volume) -> str:
    sizes = f"{human(v.available_bytes)} available of {human(v.total_bytes)}"
    return f"{printable(v.mount)}: {v.used_fraction:.0%} used, {sizes}, reserve {human(v.reserved_bytes)}"


def _section(section: rows.Section) -> Iterator[str]:
    yield f"{printable(section.title)}:"
    yield from text.table(section.rows)
    if section.note:
        yield f"  {section.note}"
