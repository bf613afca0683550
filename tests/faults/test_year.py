"""A year of hourly saves and sweeps: restarts, a reused directory, clock jumps, torn saves, pins, changed policies."""

from pathlib import Path

from tests.faults.conftest import Tally
from tests.faults.year import Year

# Their number is the seed too; in the five days each kind of thing happens.
HOURS = {"five days": 120, "year": 8760}
ENDS = {"five days": "24b56d825a69ec15", "year": "8473d778ed774e43"}


def test_year_of_hourly_sweeps_breaks_no_promise_and_ends_as_it_must(
    real: str, tmp_path: Path, tally: Tally, exhaustive: bool
) -> None:
    length = "year" if exhaustive else "five days"
    year = Year(real, str(tmp_path / "run"), HOURS[length])
    for hour in range(HOURS[length]):
        if broken := year.hour():
            tally.violation("hours of saves and sweeps", f"hour {hour}: {broken}")
        tally.ran("hours of saves and sweeps")
    assert year.deleted > HOURS[length] / 2 and year.training, "too little happened"
    assert year.checksum() == ENDS[length]
