"""What machine learning leaves on a disk beside checkpoints: caches, crash dumps, the debris of torn saves.

Each with its size and the command that clears it. What is listed can be fetched or made again, or helps nobody.
"""

import glob
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ckptkit.calling import command
from ckptkit.model.checkpoint import ASIDE
from ckptkit.model.disk import Cache
from ckptkit.system import small_files
from ckptkit.system.usage import size_of
from ckptkit.system.volumes import mount_of

Environment = Mapping[str, str]
QUIET_SECONDS = 3600  # a temporary file or download that nobody wrote to for so long is nobody's any more
SMALLEST_BYTES = 1 << 20  # a cache below that is not worth a line; debris always is
SECONDS = 10.0  # for all of them: cron asks too, and a cache of a million files must not hold it up
MORE = "at least; not all was counted in time"
DEBRIS = ("torn-save", "leftover", "hf-hub-incomplete")
TORN = re.compile(r"\.tmp[A-Za-z0-9]{6}|tmp-checkpoint-[0-9]+")  # of safetensors 0.8, of older Trainers
CORE = re.compile(r"core(\.[0-9]+)?")
CORE_FOLDERS = ("/var/lib/systemd/coredump", "/var/crash")
ELF_TYPE = slice(16, 18)  # e_type, elf(5); 4 is a core file


def caches(runs: Sequence[str], folders: Sequence[str], environments: Iterable[Environment]) -> tuple[Cache, ...]:
    """Return what can go, largest first; small caches are left out.

    runs: where torn saves leave debris. folders: where a training was started, for what it leaves beside its script.
    environments: of this process and of those that train, who may keep their caches elsewhere.
    """
    by_path: dict[str, Cache] = {}
    until = time.monotonic() + SECONDS
    protected = [os.path.realpath(folder) for folder in (*runs, *folders, os.path.expanduser("~"))]
    for kind, place, clears, what in _places(runs, folders, environments):
        path = os.path.realpath(place)
        if path in by_path or _holds_more(path, protected):
            continue
        size, more = size_of(path, until)
        note = "; ".join(filter(None, [what, MORE if more else ""]))
        if size >= (1 if kind in DEBRIS else SMALLEST_BYTES):
            by_path[path] = Cache(kind, path, mount_of(path)[0], size, clears or _remove(path), note)
    return tuple(sorted(by_path.values(), key=lambda c: (-c.allocated_bytes, c.path)))


def _holds_more(path: str, protected: Sequence[str]) -> bool:
    """Whether a variable such as TORCH_HOME=/workspace points at more than a cache: nobody should remove that."""
    return os.path.ismount(path) or any(folder == path or folder.startswith(path + "/") for folder in protected)


Place = tuple[str, str, str, str]  # kind, path, command ("": remove it), note


def _places(runs: Sequence[str], folders: Sequence[str], environments: Iterable[Environment]) -> Iterator[Place]:
    for environment in environments:
        yield from _hub(environment)
        yield from _libraries(environment)
        yield from _compiled(environment)
    for folder in dict.fromkeys([*folders, *map(os.path.dirname, runs), *runs]):
        # A symlink here may be anybody's: nobody should be told to remove what it points at.
        if not os.path.islink(compiled := os.path.join(folder, "unsloth_compiled_cache")):
            yield "unsloth", compiled, "", "made again at the next start"
        if not os.path.islink(wandb := os.path.join(folder, "wandb")):
            yield _wandb_runs(wandb)
        yield from _cores(folder)
    for folder in CORE_FOLDERS:
        yield "core-dump", folder, f"rm -rf -- {folder}/*", "of crashed processes"
    for run in runs:
        yield from _debris(run)


def _hub(env: Environment) -> Iterator[Place]:
    """The Hugging Face hub's cache, a row for each model or dataset, and downloads that broke off."""
    home = _huggingface(env)
    hub = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    for repo in _below(hub, r"(models|datasets|spaces)--.+"):
        kind, _, name = os.path.basename(repo).partition("--")
        yield "hf-hub", repo, "", f"{kind.removesuffix('s')} {name.replace('--', '/')}; downloaded again when needed"
        for blob in _below(os.path.join(repo, "blobs"), r".+\.incomplete"):
            if _quiet(blob):
                yield "hf-hub-incomplete", blob, "", "a download that broke off; counted in its repository too"
    datasets = env.get("HF_DATASETS_CACHE") or os.path.join(home, "datasets")
    yield "hf-datasets", datasets, "", "prepared again when needed"
    yield "hf-xet", env.get("HF_XET_CACHE") or os.path.join(home, "xet"), "", "only speeds up downloads"


def _libraries(env: Environment) -> Iterator[Place]:
    base = _cache_home(env)
    yield "pip", env.get("PIP_CACHE_DIR") or os.path.join(base, "pip"), "", "downloads and built wheels"
    yield "uv", env.get("UV_CACHE_DIR") or os.path.join(base, "uv"), "", "downloads and built wheels"
    yield "torch", env.get("TORCH_HOME") or os.path.join(base, "torch"), "", "torch.hub's downloads, compiled kernels"
    wandb = env.get("WANDB_CACHE_DIR") or os.path.join(base, "wandb")
    yield "wandb-cache", os.path.join(wandb, "artifacts"), "", "downloaded again when needed"
    if folder := env.get("WANDB_DIR"):
        yield _wandb_runs(os.path.join(folder, "wandb"))


def _compiled(env: Environment) -> Iterator[Place]:
    again = "compiled again at the next start"
    if folder := env.get("TORCHINDUCTOR_CACHE_DIR"):
        yield "torch-compile", folder, "", again
    for folder in glob.glob(os.path.join(env.get("TMPDIR") or "/tmp", "torchinductor_*")):  # noqa: S108 - torch puts it there
        yield "torch-compile", folder, "", again
    triton = os.path.join(env.get("TRITON_HOME") or _home(env), ".triton", "cache")
    yield "triton", env.get("TRITON_CACHE_DIR") or triton, "", again
    if folder := env.get("UNSLOTH_COMPILE_LOCATION"):
        yield "unsloth", os.path.abspath(folder), "", again


def _wandb_runs(path: str) -> Place:
    # Runs that never reached the server exist here alone: `sync --clean` leaves those.
    inside = shlex.quote(os.path.dirname(path))
    return "wandb", path, f"cd {inside} && wandb sync --clean", "logs of runs; those not yet synced stay"


def _cores(folder: str) -> Iterator[Place]:
    for path in _below(folder, CORE.pattern):
        if _is_core(path):
            yield "core-dump", path, "", "of a crashed process"


def _is_core(path: str) -> bool:
    try:
        with small_files.opened(path) as file:
            head = file.read(ELF_TYPE.stop)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and head[ELF_TYPE] in (b"\4\0", b"\0\4")


def _debris(run: str) -> Iterator[Place]:
    """Temporary files of saves that broke off, and what a killed sweep left."""
    for folder in (run, *_below(run, r"checkpoint-[0-9]+")):
        for path in _below(folder, TORN.pattern):
            if _quiet(path):
                yield "torn-save", path, "", "a save that broke off"
    for path in _below(run, re.escape(ASIDE) + ".+"):
        yield "leftover", path, command("prune", run), "left by a prune that was killed"


def _below(folder: str, pattern: str) -> list[str]:
    """What stands in the folder under a name of that pattern; symlinks are left out."""
    try:
        with os.scandir(folder) as entries:
            return [e.path for e in entries if re.fullmatch(pattern, e.name, re.DOTALL) and not e.is_symlink()]
    except OSError:
        return []


def _quiet(path: str) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > QUIET_SECONDS
    except OSError:
        return False


def _remove(path: str) -> str:
    return f"rm -rf -- {shlex.quote(path)}"


def _home(env: Environment) -> str:
    return env.get("HOME") or os.path.expanduser("~")


def _cache_home(env: Environment) -> str:
    return env.get("XDG_CACHE_HOME") or os.path.join(_home(env), ".cache")


def _huggingface(env: Environment) -> str:
    return env.get("HF_HOME") or os.path.join(_cache_home(env), "huggingface")
