"""One table at the end of a run, of all that was done on purpose in all workers, and of what it broke."""

from typing import NamedTuple

import pytest

ROW = "{:44} {:>9} {:>11}"


class Sum(NamedTuple):
    ran: int = 0
    violations: int = 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    sums: dict[str, Sum] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "teardown":  # each phase carries the same list: the last has all of it
                continue
            for name, value in report.user_properties:
                if name == "faults":
                    what, ran, violations = value
                    sums[what] = Sum(sums.get(what, Sum()).ran + ran, sums.get(what, Sum()).violations + violations)
    if sums:
        terminalreporter.section("faults")
        terminalreporter.write_line(ROW.format("what was done on purpose", "times", "violations"))
        for what, (ran, violations) in sorted(sums.items()):
            terminalreporter.write_line(ROW.format(what, ran, violations))
