"""Run directory → checkpoints, and what a person meant by a path. By stat alone: opens no checkpoint's file."""
