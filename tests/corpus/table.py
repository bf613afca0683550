"""All entries, and the table that they make in docs/integrity.md."""

from collections.abc import Iterable

from tests.corpus import (
    cuts,
    hostile_files,
    hostile_pickles,
    hostile_text,
    hostile_zips,
    manifests,
    parts,
    records,
    saves,
    tensors,
)
from tests.corpus.damage import Claim, Damage

FAMILIES = (saves, cuts, tensors, records, parts, manifests, hostile_text, hostile_pickles, hostile_zips, hostile_files)
CORPUS = {damage.name: damage for family in FAMILIES for damage in family.damages()}
HEAD = """\
| damage | cases | without a manifest | with one | verdict | finding |
|---|---|---|---|---|---|
"""


def table(damages: Iterable[Damage] = CORPUS.values()) -> str:
    """One row for all that is told alike of the same damage."""
    rows: dict[tuple[str, ...], int] = {}
    for damage in damages:
        row = (damage.what, *_claimed(damage))
        rows[row] = rows.get(row, 0) + 1
    return HEAD + "".join(f"| {row[0]} | {count} | {' | '.join(row[1:])} |\n" for row, count in rows.items())


def _claimed(damage: Damage) -> tuple[str, str, str, str]:
    """(level without, level with a manifest, verdicts, findings)."""
    bare = damage.claims
    known = bare if damage.manifested is None else damage.manifested
    told = [*dict.fromkeys((*bare, *known))]
    verdicts = dict.fromkeys(_verdict(claim) for claim in told)
    findings = dict.fromkeys(f"`{claim.code}`" for claim in told)
    return _levels(bare), _levels(known), ", ".join(verdicts) or "intact", ", ".join(findings) or "-"


def _levels(claims: tuple[Claim, ...]) -> str:
    """The lowest level that sees it; a hint says so."""
    if not claims:
        return "-"
    first = claims[0].level + (" (hint)" if claims[0].state == "intact" else "")
    return first if len(claims) == 1 or claims[0].state != "intact" else f"{first}, {claims[1].level}"


def _verdict(claim: Claim) -> str:
    return "intact (hint)" if claim.state == "intact" else claim.state
