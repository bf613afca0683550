"""Every parser of ckptkit under atheris (libFuzzer): bytes of unknown origin must end in an answer, and cheaply.

python -m tests.fuzz --list                           the targets
python -m tests.fuzz pickles --runs 1000000           one of them; --seconds N ends it earlier
python -m tests.fuzz --all --runs 1000000             all in turn, and a table at the end; exit 1 if there is a finding
python -m tests.fuzz pickles --replay FILE...         what one input does, in a process of its own

A finding is an exception that the docstring does not name, more than one second, or more than 100 MB beyond the input.
Where atheris has no wheel, hypothesis takes over with the same seeds, targets and mutations.
"""
