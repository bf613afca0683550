"""What `bin/verify` costs, against what else reads the same bytes: `python -m benchmarks.verify --help`."""
