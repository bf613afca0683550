"""One file format a file, read-only, nothing unpickled. Each reader gives the facts that are wrong, [] if none.

A fault is (code, message); its code says how bad: codes in TORN mean that the writer did not finish, those in HINTS
are worth telling and nothing against the file, those in UNJUDGED mean that nobody can say, all others that bytes are
wrong.
"""

Fault = tuple[str, str]

TORN = frozenset({"empty", "truncated", "missing", "unfinished", "zeroed-header", "zeroed-tail"})
HINTS = frozenset(
    {"debris", "other-device", "sparse", "best-missing", "extra-shard", "unknown-global", "unsafe-pickle",
     "refused-pickle", "nonfinite", "nan", "inf", "stale-manifest", "bad-manifest", "digest-unchecked",
     "unchanged-weights", "half-stripped", "removed-after-save", "bad-optional", "changed-bystander"}
)  # fmt: skip
# Of what a pickle names; whether a resume loads it decides what that means.
NAMES_TOO_MUCH = frozenset({"unsafe-pickle", "unknown-global"})
UNJUDGED = frozenset(
    {"unreadable", "not-a-file", "not-a-directory", "foreign-layout", "not-recognized", "no-weights", "changed",
     "too-large", "too-deep", "unknown-dtype", "unjudged-layout", "fewer-files", "perhaps-mixed"}
)  # fmt: skip
