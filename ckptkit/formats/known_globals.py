"""Which globals a pickle of a checkpoint may name and call.

How it was established: real Trainer runs under transformers 5.24 (7 optimizers, 10 schedulers, full, LoRA, bf16, fp16,
frozen, Seq2Seq), every optimizer and 11 schedulers of torch 2.13, a value of each kind that torch.save knows, and
torchao's states, all read with `pickletools`; then the sources of transformers 4.46 and 5.24, accelerate 1.1 and 1.15,
trl 1.16, unsloth 2026.10, bitsandbytes 0.50, torchao 0.18, galore 1.0, apollo 1.0, and the list of torch's own
`weights_only` loader (`torch/_weights_only_unpickler.py::_get_allowed_globals`).

A user's own subclass of TrainingArguments is `__main__.X` or `train.X`: nobody can know it, so it is `unknown-global`.
In training_args.bin that is common and no sign of damage: who judges that file takes the code as a hint. In every
other file of a checkpoint no such name has a reason to be.
"""

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # Python 2 names: pickle maps them below protocol 3
from fnmatch import fnmatchcase
from typing import Any

from ckptkit.formats.inert import Global

GETATTR = "builtins.getattr"

# What a pickle may call with any arguments: each makes a value of what it is given and calls nothing itself.
CALLED: frozenset[str] = frozenset(
    {
        # pickle itself, for values that its protocol 2 has no opcode for
        *(f"builtins.{n}" for n in ("bytearray", "bytes", "complex", "dict", "frozenset", "list", "set", "slice")),
        *("collections.Counter", "collections.OrderedDict", "collections.deque", "copyreg.__newobj__"),
        *("datetime.date", "datetime.datetime", "datetime.timedelta", "datetime.timezone"),
        *("pathlib.Path", "pathlib.PosixPath", "pathlib._local.PosixPath", "pathlib.PurePosixPath"),
        # numpy: rng_state*.pth holds numpy.random.get_state(); the module moved to numpy._core in 2.0
        *(f"numpy.{core}.multiarray.{n}" for core in ("core", "_core") for n in ("_reconstruct", "scalar")),
        *("numpy.dtype", "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
        # torch: tensors and their parts
        *(
            f"torch._utils._rebuild_{n}"
            for n in (
                *("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "sparse_tensor"),
                *("qtensor", "nested_tensor", "meta_tensor_no_storage", "wrapper_subclass", "xla_tensor"),
                *("device_tensor_from_numpy", "device_tensor_from_cpu_tensor", "sparse_csr_tensor"),
            )
        ),
        *("torch.Size", "torch.device", "torch.serialization._get_layout", "torch.nn.parameter.Parameter"),
    }
)

# What a pickle may call with arguments that `may_call` looks at, because these call or look up what they are given.
CHECKED: frozenset[str] = frozenset(
    {
        "_codecs.encode",  # bytes in protocol 2
        GETATTR,  # members of an Enum, as Debian 12's Python 3.11.2 pickles them; 3.10, 3.11.7, 3.12 do not
        "collections.defaultdict",
        "copyreg._reconstructor",  # instances in protocols 0 and 1
        "torch._tensor._rebuild_from_type_v2",  # a tensor with attributes, or a subclass
    }
)

# What `collections.defaultdict` may call, and of what `copyreg._reconstructor` may make an instance.
FACTORIES = frozenset(
    f"builtins.{n}" for n in ("bool", "dict", "float", "int", "list", "object", "set", "str", "tuple")
)

# Enumerations in TrainingArguments and the accelerate objects it holds; called with one value, or read by getattr.
ENUMS = re.compile(
    r"transformers\.trainer_utils\.(Interval|Evaluation|Save|Hub)Strategy|transformers\.trainer_utils\.SchedulerType"
    r"|transformers\.trainer_utils\.(HPSearchBackend|FSDPOption|ShardedDDPOption)"
    r"|transformers\.training_args\.(OptimizerNames|ParallelMode)|transformers\.debug_utils\.DebugOption"
    r"|accelerate\.utils\.dataclasses\.((SageMaker)?DistributedType|FP8BackendType|ComputeEnvironment|DynamoBackend"
    r"|LoggerType|PrecisionType|RNGType|CustomDtype|DDPCommunicationHookType)"
    r"|torch\.distributed\.fsdp\.(api|fully_sharded_data_parallel)\.(ShardingStrategy|BackwardPrefetch|StateDictType)"
    r"|peft\.utils\.peft_types\.(PeftType|TaskType)|torch\.distributed\.checkpoint\.metadata\._MEM_FORMAT_ENCODING"
    r"|deepspeed\.runtime\.zero\.config\.ZeroStageEnum|sentence_transformers\.([a-z_]+\.)+(Multi)?(Dataset)?BatchSamplers",
    re.ASCII,
)

MEMBER = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)  # not `value`, `mro` or a method of str

# Classes and constants that a pickle names and never calls: an instance is made empty (NEWOBJ) and then filled (BUILD),
# so no `__init__` and no `__post_init__` runs, which in TrainingArguments reaches for devices and files.
NAMED = re.compile(
    r"builtins\.(object|int|float|str|bool|tuple)|numpy\.ndarray|numpy\.dtypes\.[A-Z][A-Za-z0-9]*DType"
    # torch/__init__.py: `_storage_classes`, `_tensor_classes`, the dtypes, qschemes and memory formats
    r"|torch\.(cuda\.)?[A-Z][A-Za-z0-9]*Storage|torch\.((cuda|sparse|cuda\.sparse)\.)?([A-Z][A-Za-z0-9]*)?Tensor"
    r"|torch\.storage\.(Unt|T)ypedStorage|torch\.nn\.parameter\.(Buffer|UninitializedParameter|UninitializedBuffer)"
    r"|torch\.(b?float|u?int|complex|bits)[0-9]+(x[0-9]+)?|torch\.float[48]_[a-z0-9_]+|torch\.(bool|q(u?)int[0-9x]+)"
    r"|torch\.per_(tensor|channel)_(affine|symmetric)(_float_qparams)?"
    r"|torch\.(contiguous_format|channels_last(_3d)?|preserve_format)"
    # training_args.bin: the arguments of each trainer, and what their fields hold
    r"|transformers\.training_args(_seq2seq)?\.(Seq2Seq)?TrainingArguments|transformers\.trainer_pt_utils\.AcceleratorConfig"
    r"|transformers\.generation\.configuration_utils\.[A-Z][A-Za-z]*Config"
    r"|transformers\.utils\.quantization_config\.[A-Z][A-Za-z0-9]*Config"
    r"|transformers\.(integrations\.)?deepspeed\.Hf(Trainer)?DeepSpeedConfig"
    r"|accelerate\.state\.(PartialState|AcceleratorState|GradientState)|accelerate\.parallelism_config\.ParallelismConfig"
    r"|accelerate\.utils\.(dataclasses\.[A-Z][A-Za-z0-9]*(Plugin|Kwargs|Config|Configuration)|deepspeed\.HfDeepSpeedConfig)"
    r"|trl\.(trainer|experimental)\.([a-z0-9_]+\.)*[a-z0-9_]+_config\.[A-Z][A-Za-z0-9]*Config"
    r"|(unsloth_compiled_cache\.)?Unsloth[A-Za-z0-9]+Trainer\.Unsloth[A-Za-z0-9]+Config"
    r"|unsloth\.trainer\.UnslothTrainingArguments"
    r"|sentence_transformers\.([a-z_]+\.)+[A-Z][A-Za-z]*TrainingArguments"
    # the states of DeepSpeed
    r"|deepspeed\.runtime\.([a-z0-9_]+\.)+[A-Z][A-Za-z0-9]*|deepspeed\.utils\.tensor_fragment\.fragment_address"
    r"|peft\.(tuners\.[a-z0-9_]+\.config|config)\.[A-Z][A-Za-z0-9]*Config|peft\.tuners\.lora\.config\.LoraRuntimeConfig"
    # optimizer.pt and weights held in a few bits, or projected: torchao, GaLore, APOLLO, bitsandbytes
    r"|torchao\.(optim|prototype\.low_bit_optim)\.subclass_(8bit\.OptimState8bit|4bit\.OptimState4bit|fp8\.OptimStateFp8)"
    r"|(galore_torch\.galore|apollo_torch\.(random|svd))_projector\.(GaLore|Gradient)Projector"
    # `.metadata` of torch.distributed.checkpoint
    r"|torch\.distributed\.checkpoint\.(metadata\.[A-Z][A-Za-z]*|filesystem\._Storage(Info|Prefix))"
    r"|bitsandbytes\.nn\.modules\.(Params4bit|Int8Params)|bitsandbytes\.functional\.QuantState",
    re.ASCII,
)

# Modules and names that run code, write, or reach out, with all that is below them. What neither list knows is
# `unknown-global` and refused all the same: this list only makes the message plainer, nothing rests on it.
DANGEROUS = re.compile(
    r"(os|posix|nt|posixpath|ntpath|pwd|subprocess|_posixsubprocess|sys|builtins|importlib|_frozen_importlib|imp"
    r"|runpy|pkgutil|pty|socket|_socket|socketserver|shutil|ctypes|_ctypes|cffi|mmap|fcntl|resource|gc|types"
    r"|inspect|weakref|atexit|signal|pickle|_pickle|cPickle|pickletools|copyreg|dill|cloudpickle|joblib|marshal"
    r"|shelve|dbm|code|codeop|codecs|_codecs|bdb|pdb|cProfile|profile|trace|timeit|doctest|unittest|test|pydoc"
    r"|idlelib|lib2to3|distutils|setuptools|pip|ensurepip|venv|zipapp|zipimport|py_compile|compileall|asyncio"
    r"|concurrent|multiprocessing|threading|_thread|sched|queue|contextlib|tempfile|pathlib|io|_io|_pyio"
    r"|fileinput|glob|linecache|tokenize|functools|_functools|operator|_operator|itertools|webbrowser|http"
    r"|urllib|httplib|urllib2|requests|httpx|aiohttp|ftplib|smtplib|poplib|imaplib|nntplib|telnetlib|xmlrpc|ssl"
    r"|asyncore|antigravity|commands|popen2|platform|uuid|logging|sqlite3|cgi|cgitb|site|sysconfig|turtle"
    r"|tkinter|rlcompleter|readline|_aix_support|_osx_support|_pyrepl|ast|dis|numpy\.testing|numpy\.f2py"
    r"|numpy\.load|numpy\.save|numpy\.loadtxt|numpy\.genfromtxt|numpy\.fromfile|numpy\.memmap|numpy\.lib"
    r"|numpy\.distutils|numpy\.ctypeslib|numpy\.fromregex|torch\.load|torch\.save|torch\.hub|torch\.jit"
    r"|torch\.ops|torch\.classes|torch\.compile|torch\.serialization|torch\.package|torch\.storage|torch\.utils"
    r"|torch\.fx|torch\._dynamo|torch\._inductor|torch\.multiprocessing|torch\.distributed|torch\.testing"
    r"|torch\.export|torch\.onnx|torch\.os|torch\.sys|torch\.importlib|torch\._utils_internal|torch\._ops"
    r"|torch\.library|torch\.backends"
    r")(\..*)?",
    re.ASCII | re.DOTALL,
)


def judge(module: str, name: str) -> tuple[str, str]:
    """Given the two halves of a global as a pickle names it, return (its whole dotted name today, its fault or "").

    The fault is "unsafe-pickle" or "unknown-global". The halves are judged joined, since in protocol 4 `name` may walk
    through attributes: ("torch", "os.system") is "torch.os.system". A split that the lists don't show, as ("torch",
    "_utils._rebuild_tensor_v2"), reaches the same object, because a submodule is an attribute of its package.
    """
    written = f"{module}.{name}"
    today = ".".join(NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))
    if is_allowed(today):
        return today, ""
    dangerous = DANGEROUS.fullmatch(written) or DANGEROUS.fullmatch(today) or _walks_to_danger(name)
    return today, "unsafe-pickle" if dangerous else "unknown-global"


def _walks_to_danger(name: str) -> bool:
    """Whether a name of several parts walks to a dangerous module: ("random", "_os.system") is os.system."""
    parts = name.split(".")
    return any(DANGEROUS.fullmatch(".".join(parts[at:]).lstrip("_")) for at in range(len(parts) - 1))


def is_trusted(name: str, code: str, pattern: str) -> bool:
    """Whether a person's pattern lifts a fault. `pkg.*` means a package's own: what acts must be spelled out in it.

    Else `pkg.*` would let a pickle call `pkg.os.system`, since a package that imports os has it as an attribute.
    """
    if not fnmatchcase(name, pattern) or code != "unsafe-pickle":
        return fnmatchcase(name, pattern)
    spelled = re.split(r"[*?[]", pattern)[0].rstrip(".")
    return bool(DANGEROUS.fullmatch(spelled)) or _walks_to_danger(f"{spelled}.")


def is_allowed(name: str) -> bool:
    """Whether a pickle may name it; whether it may call it is for `CALLED`, `CHECKED` and `ENUMS` to say."""
    return name in CALLED or name in CHECKED or bool(ENUMS.fullmatch(name) or NAMED.fullmatch(name))


def may_call(name: str, arguments: Any) -> bool:
    """Whether a pickle may call an allowed global with these arguments.

    CALLED make a value of their arguments and call nothing. ENUMS look a member up. CHECKED call, or look up, what they
    are given, so it must be what a pickler gives them. All others are named, and never called.
    """
    if name not in CHECKED:
        return name in CALLED or bool(ENUMS.fullmatch(name))
    if type(arguments) is not tuple or not all(type(a) in (Global, str) for a in arguments[:2]):
        return name == "collections.defaultdict" and arguments in ((), (None,))
    names = [a.name if type(a) is Global else a for a in arguments]
    if name == "_codecs.encode":  # any other codec would be looked up by its name
        return len(names) == 2 and names[1] == "latin1"
    if name == GETATTR:
        return len(names) == 2 and bool(ENUMS.fullmatch(names[0]) and MEMBER.fullmatch(names[1]))
    if name == "collections.defaultdict":
        return len(names) == 1 and names[0] in FACTORIES
    if name == "copyreg._reconstructor":
        return len(names) == 3 and names[1] in FACTORIES
    return len(names) == 4 and names[0] in CALLED and names[0].startswith("torch._utils._rebuild_")
