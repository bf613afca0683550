"""Random bystanders: file trees that people and tools might leave in a checkpoint, drawn from a seed.

A name is never one that the layout asks for: those of OWN at the root of the checkpoint; what begins with `.ckptkit-`,
which is ours; and, one directory down, an adapter_config.json that peft can load: the Trainer loads the adapters that
it finds in subdirectories when it resumes (`trainer.py::_load_from_checkpoint`).
"""

import os
import random
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# What the Trainer writes or a resume reads, whatever the kind of model.
OWN = (
    "trainer_state.json", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin", "rng_state.pth",
    "rng_state_0.pth", "rng_state_1.pth", "scaler.pt", "training_args.bin", "README.md", "config.json",
    "generation_config.json", "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin",
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    "model-00001-of-00006.safetensors", "model-00006-of-00006.safetensors", "tokenizer.json", "tokenizer_config.json",
    "checkpoint-is-incomplete.txt",
)  # fmt: skip
# A rank's random states are the layout's own where no file without a number stands there, and any number counts.
RANK = re.compile(r"rng_state_(0|[1-9][0-9]*)\.pth")
SHARD = re.compile(r"model-0000[1-6]-of-00006\.safetensors")
OTHER_WEIGHTS = (
    "ema.pt", "model.Q4_K_M.gguf", "flax_model.msgpack", "consolidated.00.pth", "last.ckpt", "model.onnx",
    "tf_model.h5", "value_head.bin", "5gram.bin", "feat.safetensors", "student.safetensors", "weights.npz",
)  # fmt: skip
TOOLS = (
    "best_metric.json", "wandb-summary.json", "events.out.tfevents.1", ".DS_Store", "Thumbs.db", "notes.txt",
    "latest", "zero_to_fp32.py", ".gitattributes", "desktop.ini", "eval.json", "a\nb.json", "caf\udce9.json", "-rf",
    "__0_0.distcp", "training_state.json", "random_states_0.pkl", ".tmp", "lock",
)  # fmt: skip
FOLDERS = (
    "backup", "wandb", ".git", "checkpoint-50", "optimizer.pt.bak", "ema", "1_Pooling", "old", "language_model",
    "cache", "._model", "onnx", "model", "mine",
)  # fmt: skip
SUFFIXES, PREFIXES = (".bak", ".tmp", ".old", "~", ".1", ".gz", ".part"), ("._", "copy_of_", ".", "old-", "x")
EVIL = b"cposix\nsystem\n(S'exit 1'\ntR."
TEXTS = (b"", b"null", b"\xef\xbb\xbf{}", b"// mine\n{}", b"0.93\n", b"{", b"\0" * 5000, EVIL)
SPARSE_BYTES = 1 << 33
DAYS = 86400


class Bystander(NamedTuple):
    """One entry of a tree: its name, what it is, and the age of it in seconds (below 0: dated ahead)."""

    name: str
    content: bytes | int | str
    age: float


def tree(seed: str, mutated: bool, originals: list[bytes]) -> list[Bystander]:
    """Given a seed, return the same tree each time: 1 to 8 entries.

    mutated: whether the names are made of the layout's own. originals: what real files hold, for copies.
    """
    draw = random.Random(seed)
    found = {}
    for _ in range(draw.randint(1, 8)):
        name = _name(draw, mutated)
        while _is_own(name):
            name = _name(draw, mutated)
        found[name] = Bystander(name, _content(draw, name, originals), draw.uniform(-10, 10) * DAYS)
    return list(found.values())


def lay(tree: list[Bystander], folder: Path, now: float) -> None:
    """Put the tree into a checkpoint, over nothing that is there; a name that is taken, or no folder, is left out."""
    for entry in tree:
        path = folder / entry.name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            continue
        if not os.path.lexists(path):
            _make(path, entry.content)
            os.utime(path, (now - entry.age, now - entry.age), follow_symlinks=False)


def _make(path: Path, content: bytes | int | str) -> None:
    """bytes are a file's, a number is the size of one without any, text is a link's target or the kind of a node."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, int):
        path.touch()
        os.truncate(path, content)
    elif content in ("fifo", "socket"):
        os.mknod(path, 0o600 | (stat.S_IFIFO if content == "fifo" else stat.S_IFSOCK))
    elif content == "directory":
        path.mkdir()
    else:
        path.symlink_to(content)


# --- names ------------------------------------------------------------------------------------------------------------


def _name(draw: random.Random, mutated: bool) -> str:
    if mutated:
        name = draw.choice(OWN)
        for change in draw.sample(MUTATIONS, draw.choice((0, 1, 1, 2))):
            name = change(draw, name)
    else:
        name = draw.choice((*OTHER_WEIGHTS, *TOOLS))
    return "/".join((*(draw.choice(FOLDERS) for _ in range(draw.choice((0, 0, 1, 1, 2, 3, 4)))), name))


def _letter(draw: random.Random, name: str) -> str:
    at = draw.randrange(len(name))
    return name[:at] + draw.choice("abcxyz_-0") + name[at + 1 :]


def _case(draw: random.Random, name: str) -> str:
    return draw.choice((name.upper(), name.title(), name.swapcase()))


def _suffix(draw: random.Random, name: str) -> str:
    return name + draw.choice(SUFFIXES)


def _prefix(draw: random.Random, name: str) -> str:
    return draw.choice(PREFIXES) + name


def _number(draw: random.Random, name: str) -> str:
    """Another shard or rank, or the same with a leading zero more."""
    changed = str(draw.choice((7, 8, 12, 99999)))
    return re.sub(r"[0-9]+", lambda m: draw.choice((changed.zfill(len(m[0])), "0" + m[0], changed)), name, count=1)


MUTATIONS = (_letter, _case, _suffix, _prefix, _number)


def _is_own(name: str) -> bool:
    if "/" in name:
        return False
    return name in OWN or bool(RANK.fullmatch(name) or SHARD.fullmatch(name)) or name.startswith(".ckptkit-")


# --- contents ---------------------------------------------------------------------------------------------------------


def _content(draw: random.Random, name: str, originals: list[bytes]) -> bytes | int | str:
    kinds = dict(_contents(draw, originals))
    if re.fullmatch(r"[^/]+/adapter_config\.json", name):  # with its weights beside it, peft could load that
        del kinds["copy"], kinds["cut"]
    return kinds[draw.choice(sorted(kinds))]


def _contents(draw: random.Random, originals: list[bytes]) -> Iterator[tuple[str, bytes | int | str]]:
    """One of each kind."""
    whole = draw.choice(originals)
    yield "copy", whole
    yield "cut", whole[: draw.randrange(len(whole))]
    yield "text", draw.choice(TEXTS)
    yield "garbage", draw.randbytes(draw.randrange(1, 3000))
    yield "sparse", SPARSE_BYTES
    yield "odd", draw.choice(("fifo", "socket", "directory", "nowhere", ".", "..", "/dev/null", "optimizer.pt"))
