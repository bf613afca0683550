"""What ended a training, from its log: the words of the real libraries, where they can be made here to say them."""

import subprocess
import sys

import pytest

from ckptkit.advise.log import causes, last_error, runs_in
from tests.support.typed import Mount

LINES = {
    "full-disk": [
        "SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
        "SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: .. })",
        "RuntimeError: [enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0",
        "RuntimeError: [enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/5",
        "RuntimeError: basic_ios::clear: iostream error",
        "OSError: [Errno 28] No space left on device: 'run/checkpoint-9000'",
    ],
    "quota": ["OSError: [Errno 122] Disk quota exceeded"],
    "file-too-large": ["SafetensorError: Error while serializing: I/O error: File too large (os error 27)"],
    "read-only": ["OSError: [Errno 30] Read-only file system: '/workspace/run/checkpoint-100'"],
    "io-error": ["OSError: [Errno 5] Input/output error"],
    "permission": ["PermissionError: [Errno 13] Permission denied: 'run/checkpoint-100/optimizer.pt'"],
    "gpu-memory": ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."],
    "killed": ["Killed", "  exitcode  : -9 (pid: 17)", "[1234.5] Out of memory: Killed process 17 (python)"],
    "torn-checkpoint": [
        "FileNotFoundError: [Errno 2] No such file or directory: 'run/checkpoint-9000/trainer_state.json'",
        "zipfile.BadZipFile: File is not a zip file",
        "SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
    ],
    "no-checkpoint": ["ValueError: No valid checkpoint found in output directory (run)"],
    "open-files": ["OSError: [Errno 24] Too many open files"],
}  # fmt: skip


@pytest.mark.parametrize("code, line", [(code, line) for code, lines in LINES.items() for line in lines])
def test_a_line_is_named_by_its_cause(code: str, line: str) -> None:
    log = f"{{'loss': 1.9}}\nTraceback (most recent call last):\n  File x, line 1\n{line}\n"
    (found,) = causes(log, "RUN")
    assert found.code == code and found.line == line.strip() and found.message and found.command


def test_the_last_cause_comes_first() -> None:
    log = (
        "CUDA out of memory\nOSError: [Errno 28] No space left on device\nOSError: [Errno 28] No space left on device\n"
    )
    assert [cause.code for cause in causes(log, "RUN")] == ["full-disk", "gpu-memory"]


def test_a_healthy_log_has_no_cause() -> None:
    log = "{'loss': '1.94', 'epoch': '0.2'}\nsaving to run/checkpoint-100\n{'train_runtime': '30.1'}\n" * 50
    assert causes(log, "RUN") == ()


def test_what_our_own_guard_told_and_mended_is_no_cause() -> None:
    assert causes("WARNING ckptkit: saving checkpoint-3 failed: [Errno 28] No space left on device", "RUN") == ()


def test_a_fix_names_the_run_and_is_left_out_where_nobody_knows_it() -> None:
    log = "OSError: [Errno 28] No space left on device: '/data/run/checkpoint-9000'"
    assert causes(log, "/a run")[0].command.endswith("bin/recover '/a run'") and causes(log, "")[0].command == ""
    assert causes("CUDA out of memory", "")[0].command == "nvidia-smi"


def test_runs_that_a_log_names_are_known_by_their_checkpoints() -> None:
    log = "saving to out/a/checkpoint-10\nNo such file: '/data/b/tmp-checkpoint-20/x'\nloading checkpoint-30\n"
    assert runs_in(log) == ("", "/data/b", "out/a")


def test_an_unknown_error_is_at_least_quoted() -> None:
    assert last_error("a\nTraceback\nValueError: no such key: momentum\n\n") == "ValueError: no such key: momentum"
    assert last_error("all is well") == ""


REAL = {
    "full-disk": "open('/dev/full', 'wb', buffering=0).write(b'x')",
    "torn-checkpoint": "import io, zipfile; zipfile.ZipFile(io.BytesIO(b'x'))",
    "permission": "import os; os.setuid(65534) if os.getuid() == 0 else None; open('/etc/shadow')",
}


@pytest.mark.parametrize("code", REAL)
def test_what_python_itself_says(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", REAL[code]], capture_output=True, text=True, check=False)
    assert [cause.code for cause in causes(done.stderr, "RUN")] == [code], done.stderr


@pytest.mark.mounts
@pytest.mark.parametrize("writer", ["torch", "safetensors"])
def test_what_the_writers_say_on_a_full_disk(mount: Mount, writer: str) -> None:
    import torch
    from safetensors.torch import save_file

    path, tensor = f"{mount('tmpfs', 'size=64k')}/file", torch.zeros(100_000)
    with pytest.raises(Exception) as raised:
        torch.save(tensor, path) if writer == "torch" else save_file({"a": tensor}, path)
    assert [c.code for c in causes(f"{raised.type.__name__}: {raised.value}", "RUN")] == ["full-disk"], raised.value
