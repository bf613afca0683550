"""What we said and what the framework did, a row a kill: printed when all of them are done."""

from typing import NamedTuple


class Row(NamedTuple):
    """What was left of the save, what we call it, what the framework makes of it; the same for what `latest` names."""

    case: str
    killed_at: str
    verdict: str
    framework: str
    latest: str
    then: str


HEAD = (Row("case", "killed at", "verdict", "the framework", "`latest`", "the framework"), Row(*["---"] * 6))
rows: list[Row] = []
