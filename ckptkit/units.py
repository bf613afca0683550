"""PURE: what a person reads: names that are safe for a terminal, bytes in decimal units (as disks are sold and as
`df -H` counts), times, shares."""

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def human(size: float) -> str:
    """Given bytes, return them as a person reads them: 512 B, 4.8 MB, 3.1 GB."""
    value, unit = float(size), 0
    while abs(value) >= 999.95 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {UNITS[unit]}"


def age(seconds: float) -> str:
    """Given seconds, return them as a person reads them: 40 s, 12 min, 5.1 h, 3.2 d."""
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} d"


def count(number: int, noun: str) -> str:
    """Given how many, return that with the noun, such as 1 checkpoint or 2 checkpoints."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float) -> str:
    """Given a share of 0 to 1, return it as a person reads it, never rounded to all or nothing: 52 %, <1 %, >99 %."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def saves(fit: float) -> str:
    """Given how many more saves fit, return that in words; tenths only where they matter, none as a word."""
    if fit < 0.05:
        return "no save"
    return f"{fit:,.0f} saves" if fit >= 10 else f"{fit:.1f} saves"


def printable(name: str) -> str:
    """Given any name from a disk, return it safe for a terminal: control codes and broken bytes become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in name)
