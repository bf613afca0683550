"""Parts that do not belong together: shards, adapter and configuration, optimizer and weights, state and step."""

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpus.bytes import rewrite
from tests.corpus.damage import RESIZED, UNSEEN, Damage, hint, torn, unjudged, wrong
from tests.corpus.originals import NEEDED
from tests.corpus.tensors import ADAPTER, data_at, header, with_header

ONE, TWO = "model-00001-of-00006.safetensors", "model-00002-of-00006.safetensors"


def damages() -> Iterator[Damage]:
    """Every mixture."""
    yield from _missing()
    yield from _shards()
    yield from _states()
    yield Damage("part/adapter_config_of_another_rank", "lora", _another_rank, wrong("adapter-mismatch"),
                 "adapter_config.json of another rank")  # fmt: skip
    yield Damage("part/adapter_without_half_of_a_pair", "lora", _half_of_a_pair, wrong("adapter-mismatch"),
                 "an adapter that lost one half of a pair")  # fmt: skip
    yield Damage("part/optimizer_of_another_rank", "lora", partial(_from, "rank8", "optimizer.pt"),
                 wrong("optimizer-mismatch", "full"), "optimizer.pt of another rank", RESIZED)  # fmt: skip
    yield Damage("part/optimizer_of_another_model", "lora", partial(_from, "full", "optimizer.pt"), UNSEEN,
                 "optimizer.pt of a model with another number of parameters", RESIZED)  # fmt: skip
    yield Damage("part/config_of_another_model", "full", partial(_edit, "config.json", "hidden_size", 64),
                 wrong("config-mismatch"), "config.json of another width or depth")  # fmt: skip
    yield Damage("part/config_of_more_layers", "full", partial(_edit, "config.json", "num_hidden_layers", 3),
                 wrong("config-mismatch"), "config.json of another width or depth")  # fmt: skip
    yield Damage("part/unchanged_since_the_step_before", "lora", _twin_before, hint("unchanged-weights", "deep"),
                 "weights that are those of the step before, to the bit")  # fmt: skip


def _missing() -> Iterator[Damage]:
    for kind, needed in NEEDED.items():
        for name in needed:
            claims, what = MISSED.get(name, (unjudged("no-weights"), "the weights, or what loads them, missing"))
            yield Damage(f"missing/{kind}/{name}", kind, partial(_remove, name), claims, what,
                         torn("missing") if name not in MISSED else None)  # fmt: skip
    for kind, name in (("lora", "README.md"), ("lora", "training_args.bin"), ("full", "generation_config.json")):
        yield Damage(f"missing/{kind}/{name}", kind, partial(_remove, name), UNSEEN,
                     "a file missing that nothing needs: README.md, training_args.bin, generation_config.json",
                     hint("removed-after-save"))  # fmt: skip


def _shards() -> Iterator[Damage]:
    for number in range(1, 7):
        yield Damage(f"shard/missing_{number}", "sharded", partial(_remove, f"model-{number:05}-of-00006.safetensors"),
                     torn("missing"), "a shard missing")  # fmt: skip
    yield Damage("shard/two_exchanged", "sharded", _exchanged, wrong("misplaced-tensor"), "two shards exchanged")
    yield Damage("shard/renamed", "sharded", _renamed, torn("missing"), "a shard under another name")
    yield Damage("shard/one_in_anothers_place", "sharded", lambda path: shutil.copy2(path / ONE, path / TWO),
                 wrong("doubled-tensor"), "a shard doubled in another's place")  # fmt: skip
    yield Damage("shard/of_an_earlier_save", "sharded", lambda path: shutil.copy2(path / ONE, path / EXTRA),
                 hint("extra-shard"), "one more shard, which the index does not name")  # fmt: skip
    yield Damage("shard/tensor_of_another", "sharded", _tensor_of_another, wrong("doubled-tensor"),
                 "a tensor of another shard, added")  # fmt: skip
    yield Damage("shard/tensor_left_out", "sharded", partial(_last_tensor, TWO), wrong("lost-tensor"),
                 "a tensor that no shard has")  # fmt: skip


REMOVED = (hint("removed-after-save"), "optimizer, scheduler or random states missing: weights-only")
MISSED = {"trainer_state.json": (torn("missing"), "trainer_state.json missing, beside what the Trainer alone writes"),
          "optimizer.pt": REMOVED, "scheduler.pt": REMOVED, "rng_state.pth": REMOVED}  # fmt: skip
EXTRA = "model-00001-of-00005.safetensors"


def _states() -> Iterator[Damage]:
    edit = partial(partial, _edit, "trainer_state.json")
    yield Damage("state/of_another_step", "lora", edit("global_step", 200), wrong("step-mismatch"),
                 "trainer_state.json of another step")  # fmt: skip
    yield Damage("state/log_beyond_the_step", "lora", edit("log_history", [{"step": 110, "loss": 4.1}]),
                 wrong("log-beyond-step"), "a log that goes beyond the step")  # fmt: skip
    yield Damage("state/best_that_is_gone", "lora", edit("best_model_checkpoint", "runs/x/checkpoint-50"),
                  hint("best-missing"), "a best_model_checkpoint that does not exist", RESIZED)  # fmt: skip
    yield Damage("state/writers_own_mark", "lora", lambda path: (path / "checkpoint-is-incomplete.txt").touch(),
                 torn("unfinished"), "checkpoint-is-incomplete.txt, the writer's own mark")  # fmt: skip


def _remove(name: str, path: Path) -> None:
    (path / name).unlink()


def _from(kind: str, name: str, path: Path) -> None:
    """The file of another kind's checkpoint; TOP/<kind> stands beside the one that the copy was made from."""
    times = (path / name).stat()
    shutil.copyfile(origin(path) / kind / "checkpoint-100" / name, path / name)
    os.utime(path / name, ns=(times.st_atime_ns, times.st_mtime_ns))


def origin(path: Path) -> Path:
    """Where all originals are: whoever lays a copy down leaves a link to them beside it."""
    return Path(os.readlink(path.parent / ".originals"))


def _edit(name: str, key: str, value: int | list[dict[str, float]], path: Path) -> None:
    rewrite(path / name, lambda raw: json.dumps(json.loads(raw) | {key: value}, indent=2).encode())


def _another_rank(path: Path) -> None:
    _edit("adapter_config.json", "r", 8, path)


def _half_of_a_pair(path: Path) -> None:
    _last_tensor(ADAPTER, path)


def _exchanged(path: Path) -> None:
    (path / ONE).rename(path / "between")
    (path / TWO).rename(path / ONE)
    (path / "between").rename(path / TWO)


def _renamed(path: Path) -> None:
    (path / TWO).rename(path / "model-00007-of-00006.safetensors")


def _last_tensor(name: str, path: Path) -> None:
    """Header and data without the last tensor, as whole a file as before."""
    file = path / name
    last = max(_tensors(file), key=lambda named: named[1]["data_offsets"])
    with_header(file, lambda document: document.pop(last[0]))
    begin, end = last[1]["data_offsets"]
    rewrite(file, lambda raw: raw[: len(raw) - (end - begin)])


def _tensor_of_another(path: Path) -> None:
    name, entry = min(_tensors(path / ONE), key=lambda named: named[1]["data_offsets"])
    begin, end = entry["data_offsets"]
    data = (path / ONE).read_bytes()[data_at(path / ONE) :][begin:end]
    size = (path / TWO).stat().st_size - data_at(path / TWO)
    with_header(
        path / TWO, lambda document: document.update({name: entry | {"data_offsets": [size, size + len(data)]}})
    )
    rewrite(path / TWO, lambda raw: raw + data)


def _tensors(file: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(name, entry) for name, entry in header(file).items() if name != "__metadata__"]


def _twin_before(path: Path) -> None:
    """checkpoint-50, of the same weights: an optimizer that makes no steps."""
    before = path.with_name("checkpoint-50")
    shutil.copytree(path, before)
    _edit("trainer_state.json", "global_step", 50, before)
    _edit("trainer_state.json", "log_history", [{"step": 50, "loss": 4.2}], before)
    for ours in before.glob(".ckptkit-*"):
        ours.unlink()
