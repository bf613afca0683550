"""The functions that a script finds, sorts and deletes with, by the names under which Python has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ckptkit.scripts.names import WORD
from ckptkit.scripts.value import CLOSE, NUMBERS, OPEN, TIMES

if TYPE_CHECKING:
    from ckptkit.scripts.value import Order

MODULES = {"os", "shutil", "glob", "pathlib", "subprocess", "re", "math", "json", "torch", "np", "numpy", "fnmatch"}
DELETES_TREES = {
    "shutil.rmtree", "rmtree", "distutils.dir_util.remove_tree", "send2trash.send2trash", "fsspec.rm", "gfile.rmtree",
}  # fmt: skip
DELETES = {
    "os.remove", "os.unlink", "os.rmdir", "os.removedirs", "pathlib.Path.unlink", "pathlib.Path.rmdir", "Path.unlink",
    "Path.rmdir",
}  # fmt: skip
RUNS = {
    "os.system", "os.popen", "subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output",
    "subprocess.Popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    "asyncio.create_subprocess_exec", "sh.bash", "sh.sh", "sh.rm",
}  # fmt: skip
RUNS_LIKELY = re.compile(r"(?i)^_?(\w+_)?(run|exec|execute|shell|system|ssh|command|cmd|call|bash)(_\w+)?$")
LISTS = {"os.listdir", "listdir", "os.scandir", "scandir", "os.walk"}
LISTS_PATTERN = {"glob.glob", "glob.iglob", "tf.io.gfile.glob", "gfile.glob"}
JOINS = {"os.path.join", "osp.join", "path.join", "posixpath.join"}
MEASURES: dict[str, Order] = {
    "int": NUMBERS, "float": NUMBERS, "os.path.getmtime": TIMES, "os.path.getctime": TIMES, "os.path.getatime": TIMES,
    "osp.getmtime": TIMES, "osp.getctime": TIMES,
}  # fmt: skip
SORTS_NUMBERS = {"natsorted", "humansorted", "os_sorted", "realsorted", "natural_sort"}
SORTS = {"sorted", "min", "max", "nsmallest", "nlargest", "sort"}
TEXT_OF = {"str", "os.path.basename", "os.fspath", "str.lower", "str.casefold", "repr", "os.path.abspath"}
TESTS = {
    "startswith", "endswith", "find", "rfind", "index", "count", "match", "search", "fullmatch", "fnmatch",
    "fnmatchcase", "__contains__", "findall", "finditer", "filter",
}  # fmt: skip
SAME = {
    "list", "tuple", "reversed", "iter", "enumerate", "zip", "str", "Path", "PosixPath", "PurePath", "abspath",
    "realpath", "basename", "normpath", "expanduser", "fspath", "split", "rsplit", "partition", "rpartition", "strip",
    "lstrip", "rstrip", "replace", "lower", "as_posix", "resolve", "absolute", "with_suffix", "with_name", "copy",
    "group", "groups", "removeprefix", "removesuffix", "sub", "stat", "lstat", "is_dir", "is_file", "exists", "isdir",
    "isfile", "isdigit", "keys", "values", "items", "fromkeys", "deque", "OrderedDict", "dict", "tqdm", "chain", "cast",
    "sum", "get", "any", "all", "frozenset", "relative_to", "decode", "splitlines", "map", "bool", "array", "track",
}  # fmt: skip
OF_A_TABLE = {"keys", "values", "items", "get", "all", "any", "sum", "copy"}
CHANGES = {"append", "add", "extend", "insert", "update", "pop", "remove", "discard", "clear", "sort", "join", "format"}
OWN_SAVE = re.compile(rf"{WORD.pattern}[-_]?{OPEN}[^{CLOSE}]*step[^{CLOSE}]*{CLOSE}$")


def is_builtin(name: str, method: str) -> bool:
    """Whether a method is more likely Python's own than the script's."""
    return name.partition(".")[0] in MODULES or method in SAME or method in TESTS or method in CHANGES


def deletes(function: object) -> bool:
    """Whether the name is that of a function that deletes what it is given."""
    return function in DELETES_TREES or function in DELETES or str(function).endswith(".rmtree")
