"""A short run of every target of `python -m tests.fuzz`, what it found before, and that it can find anything."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.fuzz import engines, harness, whole
from tests.fuzz.__main__ import make_seeds
from tests.fuzz.targets import PLANTED, TARGETS

RUNS, SECONDS = 800, 1  # of each target


def fuzz(*words: str | int | Path) -> subprocess.CompletedProcess[str]:
    """What `python -m tests.fuzz` says, and how it ends."""
    command = [sys.executable, "-m", "tests.fuzz", *map(str, words)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def out(real: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where seeds, made once from real checkpoints, and findings lie."""
    folder = tmp_path_factory.mktemp("fuzz")
    make_seeds(folder, Path(real))
    assert (folder / "seeds/whole").is_dir()
    return folder


@pytest.fixture(scope="module")
def table(out: Path) -> str:
    """What one short run of all targets printed."""
    done = fuzz("--all", "--runs", RUNS, "--seconds", SECONDS, "--out", out)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_short_run_finds_nothing(table: str, name: str) -> None:
    row = next((line.split() for line in table.splitlines() if line.startswith(f"{name} ")), [])
    assert len(row) == 6 and int(row[1].replace(",", "")) >= 10 and row[5] == "0", table


PLANTED_RUNS = {
    "error": (30_000, 5, "KeyError at fuzz/planted.py"),
    "hang": (1000, 2, "timeout at"),
    "memory": (1000, 2, "memory at"),
}


@pytest.mark.parametrize("kind", PLANTED_RUNS)
@pytest.mark.skipif(not engines.have_atheris(), reason="atheris has no wheel for this Python")
def test_planted_defect_is_found(out: Path, kind: str) -> None:
    runs, seconds, told = PLANTED_RUNS[kind]
    done = fuzz(f"planted_{kind}", "--runs", runs, "--seconds", seconds, "--out", out)
    assert done.returncode == 1 and told in done.stdout, done.stdout + done.stderr


def test_planted_defect_is_found_by_hypothesis_too(tmp_path: Path, out: Path) -> None:
    (tmp_path / "seeds").symlink_to(out / "seeds")
    words = ("--engine", "hypothesis", "--runs", 1000, "--seconds", 2, "--out", tmp_path)
    done = fuzz("planted_slow", *words)
    assert done.returncode == 1 and "slow at" in done.stdout, done.stdout + done.stderr


def test_replay_tells_what_is_wrong_and_that_nothing_is() -> None:
    inputs = {"error": b"NO", "slow": b"x" * 11, "memory": b"\xff", "hang": b"x" * 11}
    found = {kind: harness.replay(PLANTED[f"planted_{kind}"], data) for kind, data in inputs.items()}
    kinds = {kind: wrong and wrong.kind for kind, wrong in found.items()}
    assert kinds == {"error": "KeyError", "slow": "slow", "memory": "memory", "hang": "killed"}
    assert harness.replay(PLANTED["planted_error"], b"ON") is None


# -- what was found ---------------------------------------------------------------------------------------------------

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
NUMBERS = b"".join(b"M" + n.to_bytes(2, "little") + b"N" for n in range(8000))
SAME = b"".join(b"M" + n.to_bytes(2, "little") + b"h\0" for n in range(8000))
GROUP = b"}X\6\0\0\0params](" + b"K\1" * 15_000 + b"esq\0"
GROUPS = b"X\x0c\0\0\0param_groups]"


def together(**files: Any) -> bytes:
    """Input of `across`: each file by its stem."""
    names = {"lora": "adapter_config.json", "adapter": "adapter_model.safetensors", "model": "model.safetensors"}
    return json.dumps({names[name]: content for name, content in files.items()}).encode()


def header(shape: list[int]) -> bytes:
    text = json.dumps({"a": {"dtype": "U8", "shape": shape, "data_offsets": [0, 1]}}).encode()
    return len(text).to_bytes(8, "little") + text + b"1"


def directory(count: int) -> bytes:
    """An archive of nothing whose directory lists `count` records and says that it is one."""
    listed = (b"PK\1\2" + bytes(42)) * count
    end = b"PK\5\6" + bytes(4) + b"\1\0\1\0" + len(listed).to_bytes(4, "little") + (64).to_bytes(4, "little") + b"\0\0"
    return b"PK\3\4" + bytes(60) + listed + end


def misplaced() -> bytes:
    """An archive whose only record begins past the file's end, by its local header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), b"cos\nsystem\n.")
    raw = file.getvalue()
    return raw[:28] + b"\xff\xff" + raw[30:]


FOUND = {
    "a_rank_that_is_a_list": ("across", together(lora={"peft_type": "LORA", "r": []}, adapter={})),
    "a_rank_pattern_of_dicts": ("across", together(lora={"peft_type": "LORA", "rank_pattern": {"a": {}}}, adapter={})),
    "a_layer_of_a_number_of_5000_digits": (
        "across", together(model={f"model.layers.{'9' * 5000}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}),
    ),
    "a_shape_whose_product_has_8000_digits": ("safetensors", header([10**4000, 10**4000])),
    "a_shape_of_400_000_dimensions": ("safetensors", header([2**62] * 400_000)),
    "a_manifest_of_a_time_beyond_floats": ("manifest", b'{"files":{},"written_at":1' + b"0" * 400 + b"}"),
    "a_manifest_of_infinite_bytes": (
        "manifest", b'{"files":{"a":{"bytes":1e999,"mtime_ns":1}},"written_at":1}',
    ),
    "a_protocol_version_of_2_40_paths": ("legacy_full", MAGIC + b"\x80\2]q\0" + b"0h\0h\0\x86q\0" * 40 + b"."),
    "a_protocol_version_of_2_40_paths_looked_at_quickly": (
        "legacy_quick", MAGIC + b"\x80\2]q\0" + b"0h\0h\0\x86q\0" * 40 + b".",
    ),
    "a_protocol_version_of_1500_lists": ("legacy_full", MAGIC + b"\x80\2" + b"]" * 1500 + b"a" * 1499 + b"."),
    "one_group_of_parameters_15_000_times": (
        "optimizer",
        b"\x80\2}(X\5\0\0\0state}" + GROUPS + b"(" + GROUP + b"h\0" * 15_000 + b"eu.",
    ),
    "one_state_of_8000_names_8000_times": (
        "optimizer", b"\x80\2}(X\5\0\0\0state}(J\xff\xff\xff\x7f}(" + NUMBERS + b"uq\0" + SAME + b"u" + GROUPS + b"u.",
    ),
    "a_directory_of_a_million_records_that_says_one": ("torch_zip", directory(1_300_000)),
    "a_record_that_begins_past_the_end": ("torch_zip", misplaced()),
    "a_file_of_rank_999999": ("whole", whole.packed({"rng_state_999999.pth": b""})),
    "a_toml_nested_too_deep": ("toml", b"max_delete=" + b"[" * 3000),
    "a_toml_number_of_4000_hexadecimal_digits": ("toml", b"max_delete=0x" + b"f" * 4000),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_found_before(name: str) -> None:
    target, data = FOUND[name]
    assert harness.replay(TARGETS[target], data) is None
