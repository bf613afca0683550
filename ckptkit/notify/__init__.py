"""Where the monitor's alerts go, one kind a file."""
