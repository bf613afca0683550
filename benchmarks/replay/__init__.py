"""The crash, replayed at 1:1000: a 100 MB volume, 77 MB of other data, 2.8 MB checkpoints, 28,000 steps."""
