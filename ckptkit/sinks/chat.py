"""--apprise URL: whatever Apprise speaks: mail, Slack, Discord, Telegram, ntfy and some hundred more."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ckptkit.errors import UsageError
from ckptkit.model.events import Alert
from ckptkit.sinks import WHOLE_SECONDS, Sink
from ckptkit.system.timeout import Patience

KINDS = {"red": "failure", "yellow": "warning", "green": "success"}


class Chat(Sink):
    """One message an alert, to all addresses."""

    name = "--apprise"

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises UsageError if Apprise is not there, or does not know an address."""
        try:
            import apprise
        except ImportError:
            raise UsageError(f"--apprise needs Apprise, which is not installed; fix: {_installing()}") from None
        self._to = apprise.Apprise()
        for url in urls:
            if not self._to.add(url):
                raise UsageError(f"--apprise: Apprise knows no address that begins with {url.partition('://')[0]!r}")
        self._patience = Patience(WHOLE_SECONDS)

    def alert(self, alert: Alert, document: Mapping[str, Any]) -> None:
        """Raises RuntimeError or TimeoutError."""
        body = alert.message + (f"\nfix: {alert.command}" if alert.command else "")
        title = f"ckptkit: {alert.code}"
        kind = KINDS[alert.level]
        if not self._patience.call(lambda: self._to.notify(body=body, title=title, notify_type=kind)):
            raise RuntimeError("at least one address refused it")


def _installing() -> str:
    """What puts it beside us, whichever tool made this environment: uv's have no pip of their own."""
    pip = [sys.executable, "-m", "pip", "install"]
    uv = ["uv", "pip", "install", "--python", sys.executable]
    return shlex.join([*(pip if importlib.util.find_spec("pip") else uv), "apprise"])
