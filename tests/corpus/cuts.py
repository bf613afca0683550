"""Files that end too early, and files whose end, or all of which, is zeros: what a full disk and a power cut leave."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.corpus.bytes import PAGE, cut, page_within, punch, zero
from tests.corpus.damage import CHANGED, RESIZED, UNSEEN, Claim, Damage, in_file, torn, wrong
from tests.corpus.tensors import ADAPTER, MODEL, SHARD, data_at

ARCHIVES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")
# One of each kind of file, and the checkpoint that has it.
FILES = {
    "README.md": "lora", "adapter_config.json": "lora", ADAPTER: "lora", **dict.fromkeys(ARCHIVES, "lora"),
    "trainer_state.json": "lora", "config.json": "full", "generation_config.json": "full", MODEL: "full",
    SHARD: "sharded", "model.safetensors.index.json": "sharded",
}  # fmt: skip
ENDS_IN_A_NEWLINE = ("README.md", "trainer_state.json", "config.json", "generation_config.json",
                     "model.safetensors.index.json")  # fmt: skip
ALL_ZEROS = wrong("all-zeros", "deep")
How = Callable[[Path, int], None]
TORN_AT_FULL = (Claim("full", "incomplete", "zeroed-tail"),)
SPARSE = (Claim("quick", "intact", "sparse"), *TORN_AT_FULL)


def damages() -> Iterator[Damage]:
    """Every file cut; every file's tail zeroed."""
    for name, kind in FILES.items():
        yield from _cuts(name, kind)
        yield from _zeros(name, kind)
    for name, kind in ((ADAPTER, "lora"), (MODEL, "full"), (MODEL, "bf16"), (SHARD, "sharded")):
        yield from _lost_data(name, kind)


def _cuts(name: str, kind: str) -> Iterator[Damage]:
    newline, text = name in ENDS_IN_A_NEWLINE, name == "README.md"
    cuts: tuple[tuple[str, Callable[[Path], None], bool, str, tuple[Claim, ...]], ...] = (
        ("by_one_byte", partial(_cut, name, -1), newline, "a file cut by 1 byte, in half", torn()),
        ("in_half", partial(_cut, name, None), text, "a file cut by 1 byte, in half", torn()),
        ("to_nothing", partial(_cut, name, 0), text, "a file cut to 0 bytes", torn("empty")),
    )
    for how, harm, unseen, what, claims in cuts:
        if unseen:
            told = "README.md cut in half, to nothing" if how != "by_one_byte" else "the last newline of a text lost"
            yield Damage(f"cut/{name}/{how}", kind, harm, UNSEEN, told, in_file(name, RESIZED))
        else:
            yield Damage(f"cut/{name}/{how}", kind, harm, in_file(name, claims), what)


def _cut(name: str, keep: int | None, path: Path) -> None:
    """None keeps half."""
    cut(path / name, (path / name).stat().st_size // 2 if keep is None else keep)


def _zeros(name: str, kind: str) -> Iterator[Damage]:
    """The whole file, and from some page on; small files have but one page."""
    text, tensors = name == "README.md", name.endswith(".safetensors")
    begins = "zeroed-header" if tensors or name in ARCHIVES else "truncated"
    claims, known = (UNSEEN, in_file(name, CHANGED)) if text else (in_file(name, torn(begins)), None)
    what = "README.md all zeros" if text else "a file all zeros"
    yield Damage(f"zero/{name}/all", kind, lambda path: zero(path / name, 0), claims, what, known)
    if name in ("optimizer.pt", "rng_state.pth"):
        for part in (0.5, 0.99):
            yield Damage(f"zero/{name}/from_{part}", kind, partial(_from_page, zero, name, part), torn(),
                         "an archive's tail zeros, or a hole")  # fmt: skip
        yield Damage(f"hole/{name}/from_half", kind, partial(_from_page, punch, name, 0.5), torn(),
                     "an archive's tail zeros, or a hole")  # fmt: skip


def _from_page(how: How, name: str, part: float, path: Path) -> None:
    how(path / name, page_within(path / name, part))


def _lost_data(name: str, kind: str) -> Iterator[Damage]:
    """Right size, right header, and data that never reached the disk."""
    for how, begin in (("half", partial(page_within, fraction=0.5)), ("a_page", _last_page), ("data", _first_page)):
        yield Damage(f"zero/{kind}/{how}", kind, partial(_beyond, zero, name, begin), TORN_AT_FULL,
                     "weights whose tail is zeros, a page or more", _changed_too())  # fmt: skip
        yield Damage(f"hole/{kind}/{how}", kind, partial(_beyond, punch, name, begin), SPARSE,
                     "weights whose tail is a hole", (SPARSE[0], *_changed_too()))  # fmt: skip
    yield Damage(f"zero/{kind}/all_data", kind, partial(_beyond, zero, name, data_at), ALL_ZEROS,
                 "all values of the weights zero, the header whole", (*CHANGED, *ALL_ZEROS))  # fmt: skip
    yield Damage(f"zero/{kind}/less_than_a_page", kind, partial(_beyond, zero, name, _part_page), UNSEEN,
                 "weights whose tail is zeros, less than a page", CHANGED)  # fmt: skip


def _changed_too() -> tuple[Claim, ...]:
    return (Claim("full", "incomplete", "changed-since-manifest"),)


def _beyond(how: How, name: str, begin: Callable[[Path], int], path: Path) -> None:
    how(path / name, begin(path / name))


def _last_page(file: Path) -> int:
    return (file.stat().st_size - PAGE) // PAGE * PAGE


def _first_page(file: Path) -> int:
    return -(-data_at(file) // PAGE) * PAGE


def _part_page(file: Path) -> int:
    return file.stat().st_size - 300
