"""Checkpoints elsewhere: another volume, another box."""
