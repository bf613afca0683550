"""A real sshd on this machine, with keys of the test's own, for as long as a test needs it."""

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SBIN = os.environ["PATH"] + ":/usr/sbin:/sbin"
WAITS = 100  # times a tenth of a second, on a machine that does ten things at once


@contextmanager
def sshd(folder: Path, **settings: Any) -> Iterator[str]:
    """Yield what to type as --ssh-command: it reaches 127.0.0.1 there, and knows its key. settings: of sshd_config."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    for key in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    port = _free_port()
    public = (folder / "host.pub").read_text().split()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    os.makedirs("/run/sshd", exist_ok=True)
    lines = {
        "ListenAddress": "127.0.0.1", "Port": port, "HostKey": folder / "host", "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysFile": folder / "mine.pub", "StrictModes": "no", "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no", "LogLevel": "QUIET",
        "SetEnv": "SHLVL=1",  # bash(1) then reads no ~/.bashrc, which is the machine's own and may wait for something
    } | settings  # fmt: skip
    (folder / "sshd_config").write_text("".join(f'{key} "{value}"\n' for key, value in lines.items()))
    binary = next(f"{place}/sshd" for place in SBIN.split(":") if os.access(f"{place}/sshd", os.X_OK))
    process = subprocess.Popen([binary, "-D", "-e", "-f", folder / "sshd_config"])
    try:
        _wait_for(port)
        config = folder / "ssh_config"
        config.write_text(
            f'Port {port}\nIdentityFile "{folder}/mine"\nIdentitiesOnly yes\nUserKnownHostsFile "{folder}/known"\n'
        )
        yield shlex.join(["ssh", "-F", str(config)])
    finally:
        process.terminate()
        process.wait()


def _free_port() -> Any:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: Any) -> None:
    for _ in range(WAITS):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("sshd does not listen")
