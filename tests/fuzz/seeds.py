"""What the fuzzing of each target begins with: real checkpoints cut small, and a few that somebody means ill with.

python -m tests.fuzz.seeds FOLDER REAL
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fuzz import whole
from tests.fuzz.shapes import GLOBALS
from tests.scripts.texts import spellings

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW = 4  # parameters of the small model

MADE = Path(__file__).resolve().parents[1] / "layouts/made"


def write(folder: Path, real: Path) -> None:
    """Given real checkpoints as make_real.py leaves them, write each target's seeds as folder/<target>/<number>."""
    for target, seeds in _all(real).items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / target / f"{number:03}").write_bytes(seed)


def _all(real: Path) -> dict[str, list[bytes]]:
    small = _small({f.name: f.read_bytes() for f in (real / "lora/checkpoint-100").iterdir()})
    archives = [content for name, content in small.items() if name.endswith((".pt", ".pth", ".bin"))]
    pickled = [*map(_data_pkl, archives), *_hostile_pickles()]
    old = [*_legacy(), *pickled]
    manifest = _manifest(small)
    checkpoint: dict[str, bytes | None] = {name: content for name, content in small.items() if name in whole.NAMES}
    return _texts() | {
        "values": [bytes([n, 7]) + small["adapter_model.safetensors"][-256:] + b"\x80\x7f" * 8 for n in range(14)],
        "zero_tail": [b"\1\0" + b"x" * 4090, b"\3\2" + b"x" * 4096 + bytes(8200), b"\xff\x2a" + bytes(9000)],
        "bounded": [*_documents(real), b"[" * 2000, b"[1e999,NaN,-0]", '{"a":1}'.encode("utf-16")],
        "trainer_state": [small["trainer_state.json"], b'{"global_step": 1e999}'],
        "manifest": [manifest],
        "safetensors": [*_headers(), small["adapter_model.safetensors"]],
        "pickles": pickled,
        "pickle_stream": old,
        "dcp": [path.read_bytes() for path in sorted(MADE.glob("dcp*/step-2/.metadata"))] + [*_hostile_pickles()],
        "lightning": [_data_pkl(path.read_bytes()) for path in sorted(MADE.glob("lightning-*/**/*=2.ckpt"))],
        "optimizer": [_data_pkl(small["optimizer.pt"]), *_hostile_pickles()],
        "legacy_quick": old,
        "legacy_full": old,
        "torch_zip": [*archives, *_zips()],
        "across": [*_together(real)],
        "whole": [whole.packed(checkpoint | more) for more in _damage(manifest)],
    }


def _texts() -> dict[str, list[bytes]]:
    """What a person types, for each of the settings; a file of them; and scripts."""
    typed = (b"1.5T", b"90s", b"eval_loss:min=2", b"2..5", b"30%", b"0")
    files = (b'keep_last = "2..5"\nkeep_best = "eval_loss:min=2"\n', b"keep_within='2d'\nmax_delete=0x7f", b"a=[[1]]")
    scripts = {f"script_{one}": [text.values[1].encode() for text in spellings(one)] for one in ("python", "shell")}
    return scripts | {"text": [bytes([number]) + text for number in range(9) for text in typed], "toml": list(files)}


def _documents(real: Path) -> list[bytes]:
    names = ("lora/checkpoint-100/adapter_config.json", "lora/checkpoint-100/trainer_state.json")
    return [(real / name).read_bytes() for name in (*names, "full/checkpoint-100/config.json")]


def _manifest(files: dict[str, bytes]) -> bytes:
    entries = {name: {"bytes": len(content), "mtime_ns": 1, "crc32": "00"} for name, content in files.items()}
    table = {
        "schema": "ckptkit.manifest/1",
        "written_at": 1.5,
        "versions": {"torch": "2"},
        "files": entries,
    }
    return json.dumps(table).encode()


def _small(lora: dict[str, bytes]) -> dict[str, bytes]:
    """The real LoRA checkpoint with its first tensors alone: fast to read, and still consistent."""
    from safetensors.torch import load, save

    tensors = dict(sorted(load(lora["adapter_model.safetensors"]).items())[:FEW])
    state = json.loads(lora["trainer_state.json"])
    state["log_history"] = state["log_history"][-2:]
    return lora | {
        "adapter_model.safetensors": save(tensors, {"format": "pt"}),
        "optimizer.pt": _optimizer(list(tensors.values())),
        "trainer_state.json": json.dumps(state).encode(),
        "rng_state.pth": _saved({"python": (3, (1, 2, 3), None)}),
        "README.md": b"# adapter\n",
    }


def _optimizer(tensors: list[Any]) -> bytes:
    """As torch writes it after a step."""
    import torch

    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in tensors]
    optimizer = torch.optim.AdamW(parameters)
    sum(p.sum() for p in parameters).backward()
    optimizer.step()
    return _saved(optimizer.state_dict())


def _saved(value: object, **how: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


def _data_pkl(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(next(name for name in opened.namelist() if name.endswith("data.pkl")))


def _hostile_pickles() -> Iterator[bytes]:
    yield from (pickle.dumps({"a": [1, (2, "x"), {3: 4.5}], "b": b"\0" * 9, "c": {7}}, protocol=p) for p in range(6))
    yield from (b"\x80\2" + name + b"(S'true'\ntR." for name in GLOBALS)
    yield b"\x80\4" + b"]q\0" + b"0h\0h\0\x86q\0" * 60 + b"."  # 2 ** 60 paths to one list
    yield b"\x80\4" + b"]" * 900 + b"a" * 899 + b"."
    group = b"}X\6\0\0\0params](" + b"".join(b"M" + n.to_bytes(2, "little") for n in range(300)) + b"esq\0"
    yield b"\x80\2}X\5\0\0\0state}sX\x0c\0\0\0param_groups]" + group + b"a(" + b"h\0" * 50 + b"es."


def _legacy() -> Iterator[bytes]:
    """The five pickles, the tar of 2016, and what no torch wrote behind the magic number."""
    import torch

    yield _saved({"x": torch.ones(3), "y": [torch.zeros(2, 2)]}, _use_new_zipfile_serialization=False)
    yield _saved({}, _use_new_zipfile_serialization=False)
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    yield magic + b"\x80\2]q\0" + b"0h\0h\0\x86q\0" * 12 + b"." + b"N." * 3
    yield magic + pickle.dumps(1001, protocol=2) + pickle.dumps({}, protocol=2) * 2 + b"]X\1\0\0\0aa."
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        storage = pickle.dumps(("1", "cpu", int), protocol=2) + (2).to_bytes(8, "little") + bytes(8)
        count, none = pickle.dumps(1, protocol=2), pickle.dumps([], protocol=2)
        tensor = pickle.dumps(("1", "1", int), protocol=2) + (1).to_bytes(4, "little") + bytes(28)
        for name, content in (("sys_info", pickle.dumps({}, protocol=2)), ("pickle", pickle.dumps({}, protocol=2)),
                              ("storages", count + storage + none), ("tensors", count + tensor)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    yield file.getvalue()


def _headers() -> Iterator[bytes]:
    for dtype, shape in (("F32", [2, 2]), ("U8", [16]), ("F32", [10**40, 10**40])):
        tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, 16]}
        header = json.dumps({"model.layers.0.q.weight": tensor, "__metadata__": {"format": "pt"}}).encode()
        yield len(header).to_bytes(8, "little") + header + bytes(range(16))


def _zips() -> Iterator[bytes]:
    for extra, names in (
        (b"", ["a/data.pkl", "a/data/0"]),
        (b"\1\0\x10\0" + bytes(16), ["a/data.pkl", "../x", "a/data.pkl"]),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            warnings.simplefilter("ignore")  # two of one name: that is meant
            for name in names:
                record = zipfile.ZipInfo(name)
                record.extra = extra
                with archive.open(record, "w", force_zip64=True) as content:
                    content.write(pickle.dumps({"x": [1]}, protocol=2))
            archive.comment = b"c" * len(extra)
        yield file.getvalue()


def _together(real: Path) -> Iterator[bytes]:
    """Every JSON and safetensors header of a checkpoint, as the target `across` takes them."""
    for kind in ("lora", "full", "sharded"):
        files: dict[str, Any] = {}
        for file in sorted((real / kind / "checkpoint-100").iterdir()):
            raw = file.read_bytes()
            if file.suffix == ".json":
                files[file.name] = json.loads(raw)
            elif file.suffix == ".safetensors":
                header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
                files[file.name] = dict(list(header.items())[:6])
        yield json.dumps(files).encode()


def _damage(manifest: bytes) -> Iterator[dict[str, bytes | None]]:
    """What is done to the small checkpoint: nothing, a manifest, a file gone, another framework's beside it."""
    header = next(_headers())
    index = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": 7}}).encode()
    yield {}
    yield {".ckptkit-manifest.json": manifest}
    yield {"optimizer.pt": None, "trainer_state.json": None, "scaler.pt": b""}
    yield {"model.safetensors": header, "config.json": b'{"hidden_size": 4, "num_hidden_layers": 3}'}
    yield {"model.safetensors.index.json": index, "model-00001-of-00002.safetensors": header}
    yield {"optimizer.pt": next(_legacy()), "reference/adapter_config.json": b'{"peft_type": "LORA", "r": 4}'}


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
