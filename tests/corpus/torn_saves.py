"""Run as a script: a real Trainer's saves, killed and starved at each of their files, below the directory named.

One process trains; for each way and file it forks a child that saves, under strace that kills it where it opens or
writes the file (-P), or on a tmpfs that is full there. Makes TOP/torn/<kind>/<way>/<file>/checkpoint-100 and
TOP/rank8.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.corpus.bytes import PAGE
from tests.corpus.saves import ORDERS, torn_kinds

SYSCALLS = {
    "killed_before": "openat,open,rename,renameat,renameat2",
    "killed_within": "write,writev,pwrite64,ftruncate,fallocate,rename,renameat,renameat2",
}


def main(top: str) -> None:
    """All of them, and one whole save of rank 8 whose parts others borrow."""
    import torch

    torch.set_num_threads(1)
    trainer = _trained(_lora(8))
    trainer.args.output_dir = os.path.join(top, "rank8")
    trainer._save_checkpoint(trainer.model, None)
    trainers = {"lora": _trained(_lora(4)), "full": _trained(_base())}
    sizes = {kind: _sizes(_whole(trainers[kind], Path(top, "torn", kind, "whole"))) for kind in trainers}
    for kind, how, name in torn_kinds():
        run = Path(top, "torn", kind, how, name)
        run.mkdir(parents=True)
        if how == "full_disk_at":
            if os.geteuid() == 0:  # else nobody may mount
                before = ORDERS[kind][: ORDERS[kind].index(name)]
                _starved(trainers[kind], run, [sizes[kind][each] for each in before], sizes[kind][name])
        else:
            killed(partial(_save, trainers[kind], run), str(run / "checkpoint-100" / name), SYSCALLS[how])


def _base() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=2, **shape))


def _lora(rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(_base(), LoraConfig(r=rank, target_modules="all-linear"))


def _trained(model: Any) -> Any:
    """A Trainer after step 100 that has not saved yet."""
    import torch
    from transformers import Trainer, TrainingArguments

    args = TrainingArguments(
        tempfile.gettempdir(), max_steps=100, save_strategy="no", logging_steps=10, report_to="none", use_cpu=True,
        disable_tqdm=True, dataloader_pin_memory=False, per_device_train_batch_size=1,
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in torch.arange(64).view(8, 8)]
    trainer = Trainer(model=model, args=args, train_dataset=data)
    trainer.train()
    return trainer


def _whole(trainer: Any, run: Path) -> Path:
    _save(trainer, run)
    return run / "checkpoint-100"


def _sizes(checkpoint: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in checkpoint.iterdir()}


def _save(trainer: Any, run: Path) -> None:
    trainer.args.output_dir = str(run)
    trainer._save_checkpoint(trainer.model, None)


def killed(save: Callable[[], None], path: str, syscalls: str) -> None:
    """A child saves once strace watches it, which kills it at the first of the calls on that file."""
    watched, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(watched, 1)
        save()
        os._exit(0)
    command = ["strace", "-f", "-p", str(child), "-o", "/dev/null", "-P", path, "-e", f"trace={syscalls}"]
    strace = subprocess.Popen([*command, "-e", f"inject={syscalls}:signal=KILL:when=1"], stderr=subprocess.PIPE)
    assert strace.stderr and b"attached" in strace.stderr.readline()
    os.write(ready, b"x")
    status = os.waitpid(child, 0)[1]
    strace.wait()
    os.close(watched)
    os.close(ready)
    assert os.WIFSIGNALED(status), f"{path}: {syscalls}: nothing killed the save"


def _starved(trainer: Any, run: Path, before: list[int], size: int) -> None:
    """A child saves onto a tmpfs that has room for the files before this one, and for half of it; sizes in bytes."""
    volume = run / "volume"
    volume.mkdir()
    room = PAGE * max(1, sum(map(_pages, before)) + _pages(size) // 2)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(volume)], check=True)
    try:
        _in_a_child(trainer, volume)
        shutil.copytree(volume / "checkpoint-100", run / "checkpoint-100")
    finally:
        subprocess.run(["umount", str(volume)], check=True)


def _in_a_child(trainer: Any, run: Path) -> None:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(Exception):
            _save(trainer, run)
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, f"{run}: the save did not fail"


def _pages(size: int) -> int:
    return -(-size // PAGE)


if __name__ == "__main__":
    main(sys.argv[1])
