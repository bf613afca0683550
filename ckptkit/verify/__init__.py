"""Checkpoint → verdict with findings."""
