"""What the recipes without a Trainer share: the command line, ranks, a tiny model and its data.

A recipe has CASES and LISTED, the number of ranks of each case: those from which the framework resumes, and the others.
RECIPE CASE DIR [--resume CHECKPOINT|auto]: the last line is {"resumed_step": N, "losses": [...]}. RECIPE --cases lists.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

STEPS, SAVE_EVERY = 5, 2  # two checkpoints, and one step after the last: a resume has something to do
VOCABULARY, LENGTH, BATCH = 32, 8, 2

Train = Callable[[str, "str | None"], Mapping[str, Any]]


def main(train: Train, cases: Mapping[str, int]) -> None:
    """Given the number of ranks of each case: call `train(case, resume)` in DIR, and print what it returns.

    It runs in DIR so that no absolute path gets into a file; `resume` is a relative path, "auto", or None.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", choices=cases)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--resume")
    parser.add_argument("--cases", action="store_true")
    given = parser.parse_args()
    if given.cases:
        print(*cases)
        return
    if given.folder is None:
        parser.error("CASE and DIR are needed")
    if cases[given.case] > 1:
        _on_ranks(cases[given.case])
    _print_result(train, given.case, Path(given.folder), given.resume)


def _print_result(train: Train, case: str, folder: Path, resume: "str | None") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if resume not in (None, "auto"):
        places = (Path(resume), folder / resume, folder / case / resume)
        resume = os.path.relpath(next((place for place in places if place.exists()), folder / resume), folder)
    os.chdir(folder)
    result = train(case, resume)
    if rank() == 0:
        print("\n" + json.dumps(result), flush=True)


def _on_ranks(count: int) -> None:
    """Run this recipe again under torchrun, unless that is what runs it now."""
    if "RANK" not in os.environ:
        torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count))
        os.execv(sys.executable, [sys.executable, *torchrun, *sys.argv])


def ranks() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def tiny_llama(length: int = LENGTH) -> Any:
    """A model with dropout: a resume that lost the state of the random numbers shows in the losses."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=length, attention_dropout=0.2, **sizes)
    return LlamaForCausalLM(config)


def tokens(count: int) -> Any:
    """The data: the same random tokens each time."""
    import torch

    return torch.randint(0, VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(7))


def seed() -> None:
    import random

    import numpy
    import torch

    random.seed(1)
    numpy.random.seed(1)
    torch.manual_seed(1)
    torch.set_num_threads(1)
