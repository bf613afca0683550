"""The damage corpus: real checkpoints, everything that happens to them, and which level claims to see it.

python -m tests.corpus DIR       make all of it below DIR, generated: no binary is committed
python -m tests.corpus --table   the table of docs/integrity.md

`damage` has the noun, `table` all entries; each other module makes one family of them. tests/verify/test_corpus.py
holds the claims, both ways: what a level claims it sees, and what it does not claim it does not see.
"""
