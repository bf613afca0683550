"""Saves that were torn for real: see torn_saves.py, which a Trainer's own process is killed and starved in."""

from collections.abc import Iterator

from tests.corpus.damage import Damage, torn, unjudged

# The order in which the Trainer writes a checkpoint of each kind; the state comes last.
_REST = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
ORDERS = {
    "lora": ("README.md", "adapter_model.safetensors", "adapter_config.json", *_REST),
    "full": ("config.json", "generation_config.json", "model.safetensors", *_REST),
}
# Killed before one of these, what is there is what anybody's `save_pretrained` leaves: no sign of the Trainer. The
# guard leaves its own mark there (tests/guard).
AFTER_THE_WEIGHTS = {"lora": ("adapter_config.json", "training_args.bin"), "full": ("training_args.bin",)}
HOWS = {
    "killed_before": "a save killed before a file, in the Trainer's order",
    "killed_within": "a save killed within a file",
    "full_disk_at": "a save that met a full disk at a file",
}


def damages() -> Iterator[Damage]:
    """Every file of each kind, three ways. Nothing is left to do to a copy: the harm was done while it was written."""
    for kind, how, name in torn_kinds():
        claims = torn("empty" if name == ORDERS[kind][-1] and how != "killed_before" else "missing")
        what = HOWS[how]
        if how == "killed_before" and name in AFTER_THE_WEIGHTS[kind]:
            claims, what = unjudged("not-recognized"), "a save killed between whole weights and training_args.bin"
        yield Damage(f"save/{kind}/{how}/{name}", f"torn/{kind}/{how}/{name}", lambda path: None, claims, what,
                     needs_root=how == "full_disk_at")  # fmt: skip


def torn_kinds() -> list[tuple[str, str, str]]:
    """(kind, how, the file at which) of each."""
    return [(kind, how, name) for kind in ORDERS for how in HOWS for name in ORDERS[kind]]
