"""Run as a script: a save of step 20, killed at each of its files; guarded, or `bare`, by the Trainer alone.

killed_saves.py TOP lora|full HOW [bare] makes TOP/FILE/checkpoint-10, whole, and what is left there of checkpoint-20.
killed_saves.py --each TOP HOW...        makes TOP/KIND-HOW/FILE of both kinds: one import of torch for all
"""

import os
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parent.parent.parent)]

import tiny

import ckptkit
from tests.corpus.torn_saves import SYSCALLS, killed


def main(top: str, kind: str, how: str, guarded: str = "guarded") -> None:
    trainer = tiny.trainer(f"{top}/whole", lora=kind == "lora", max_steps=20)
    guard = ckptkit.guard(trainer, 3) if guarded == "guarded" else None
    trainer.train()
    if guard:
        guard.wait()
    for name in sorted(os.listdir(f"{top}/whole/checkpoint-20")):
        if name.startswith(".ckptkit-"):
            continue
        run = f"{top}/{name}"
        shutil.copytree(f"{top}/whole/checkpoint-10", f"{run}/checkpoint-10")
        trainer.args.output_dir = run
        killed(lambda: trainer._save_checkpoint(trainer.model, None), f"{run}/checkpoint-20/{name}", SYSCALLS[how])
    shutil.rmtree(f"{top}/whole")


def each(top: str, *hows: str) -> None:
    """Of both kinds, each way."""
    for kind in ("lora", "full"):
        for how in hows:
            main(f"{top}/{kind}-{how}", kind, how)


if __name__ == "__main__":
    if sys.argv[1] == "--each":
        each(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
