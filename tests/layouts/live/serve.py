"""serve.py RECIPE: run the trainings that standard input names, a JSON line each, and answer each with its exit code.

A line is a `ranks.Job` without its defaults. The libraries are imported once; each rank is a fork of this process. A
recipe is a file with CASES (the number of ranks, or else two) and `train(case, resume)`.
"""

import importlib.util
import json
import os
import sys
import types
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path[0] = str(CHECKOUT)  # not this folder
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from tests.layouts.recipes.ranks import Job, run
from tests.support.typed import present

WARM = {
    "torch": ("torch", "torch.distributed.checkpoint"),
    "transformers": ("transformers.trainer", "transformers.models.llama.modeling_llama"),
    "accelerate": ("accelerate",),
    "lightning": ("lightning",),
}


def main(path: str) -> None:
    """Until standard input ends."""
    recipe = _load(path)
    print("ready", flush=True)
    for line in sys.stdin:
        job = Job(**json.loads(line))
        count = recipe.CASES[job.case]
        print(run(recipe.train, job, count if isinstance(count, int) else 2), flush=True)


def _load(path: str) -> types.ModuleType:
    """The recipe as a module. What it imports later is imported now: after a fork it would be so each time."""
    text = Path(path).read_text()
    for library, modules in WARM.items():
        if library in text and importlib.util.find_spec(library):
            for module in modules:
                importlib.import_module(module)
    sys.path.insert(0, str(Path(path).parent))
    spec = present(importlib.util.spec_from_file_location("recipe", path))
    recipe = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(recipe)
    return recipe


if __name__ == "__main__":
    main(sys.argv[1])
