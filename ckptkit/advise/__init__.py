"""PURE: what a person should know or do, from what was measured."""
