"""A year of hourly saves and sweeps: restarts, a reused directory, clock jumps, torn saves, pins, changed policies."""

from tests.faults.year import Year

SEED = 8760
HOURS = {"ten days": 240, "year": 8760}
ENDS = {"ten days": "8d34122aba8fd256", "year": "8473d778ed774e43"}


def test_year_of_hourly_sweeps_breaks_no_promise_and_ends_as_it_must(real, tmp_path, tally, exhaustive):
    length = "year" if exhaustive else "ten days"
    year = Year(real, str(tmp_path / "run"), SEED)
    for hour in range(HOURS[length]):
        if broken := year.hour():
            tally.violation("hours of saves and sweeps", f"hour {hour}: {broken}")
        tally.ran("hours of saves and sweeps")
    assert year.deleted > HOURS[length] / 2 and year.training, "too little happened"
    assert year.checksum() == ENDS[length]
