"""Proof by trial: what goes wrong, done on purpose and counted. `bin/test` runs a sample, `--exhaustive` all of it."""
