"""Small files are replaced whole: what they hold is on the disk before it gets their name, as the kernel saw it."""

import re
import subprocess
import sys

import pytest

from tests.conftest import CHECKOUT

REPLACED = "import sys; from ckptkit.system import small_files; small_files.replace_at(sys.argv[1], b'new', {options})"


def calls_of(path, options=""):
    """The names of the system calls by which a file is replaced there, in order."""
    trace = path.parent / "trace"
    strace = ["strace", "-f", "-y", "-qq", "-e", "trace=write,fsync,fdatasync,rename,renameat,renameat2", "-o", trace]
    command = [*strace, sys.executable, "-c", REPLACED.format(options=options), path]
    subprocess.run(command, check=True, capture_output=True, cwd=CHECKOUT)
    lines = [line for line in trace.read_text().splitlines() if path.name in line]
    assert all(line.endswith(("= 0", "= 3")) for line in lines), lines
    return [re.sub(r"^\d+ +(\w+?)(at2?)?\(.*", r"\1", line) for line in lines]


@pytest.mark.parametrize(
    "options, expected", [("", ["write", "fsync", "rename"]), ("durable=False", ["write", "rename"])]
)
def test_bytes_are_durable_before_the_name_is_theirs(tmp_path, options, expected):
    path = tmp_path / "settings"
    path.write_bytes(b"old")
    assert calls_of(path, options) == expected
    assert path.read_bytes() == b"new" and sorted(p.name for p in tmp_path.iterdir()) == ["settings", "trace"]
