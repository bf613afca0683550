"""--webhook URL: each alert is posted there as JSON. --ping URL: asked for after each look (healthchecks.io and kin).

A dead man's switch: it is the missing ping that tells somebody that the machine, or the monitor, is gone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from ckptkit.errors import UsageError
from ckptkit.model.events import Alert, Sight
from ckptkit.sinks import ANSWER_SECONDS, WHOLE_SECONDS, Sink
from ckptkit.system.timeout import Patience

TRIES = 3
PAUSE_SECONDS = 1.0


class Webhook(Sink):
    """POST, with retries; anything but a 2xx answer is a failure."""

    def __init__(self, url: str, rest: Callable[[float], None] = time.sleep) -> None:
        self.url, self.rest = _checked("--webhook", url), rest
        self.name = f"--webhook {_host(url)}"
        self._patience = Patience(WHOLE_SECONDS)

    def alert(self, alert: Alert, document: Mapping[str, Any]) -> None:
        """Raises OSError (urllib's errors are children of it) or TimeoutError."""
        body = json.dumps(document).encode()
        self._patience.call(lambda: _insist(lambda: _ask(self.url, body), self.rest))


class Ping(Sink):
    """GET the URL after each look, and URL/fail after one that could see nothing."""

    def __init__(self, url: str) -> None:
        self.url = _checked("--ping", url)
        self.name = f"--ping {_host(url)}"
        self._patience = Patience(WHOLE_SECONDS)

    def look(self, sight: Sight, standing: Mapping[tuple[str, str], int]) -> None:
        """Raises OSError or TimeoutError. Tried once: the next look is the next try."""
        url = self.url if sight.volumes else self.url.rstrip("/") + "/fail"
        self._patience.call(lambda: _ask(url))


def _insist(ask: Callable[[], None], rest: Callable[[float], None]) -> None:
    for attempt in range(TRIES - 1):
        try:
            return ask()
        except OSError:
            rest(PAUSE_SECONDS * 2**attempt)
    return ask()


def _ask(url: str, body: bytes | None = None) -> None:
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    from ckptkit import __version__

    headers = {"User-Agent": f"ckptkit/{__version__}"} | ({"Content-Type": "application/json"} if body else {})
    try:
        with urlopen(Request(url, body, headers), timeout=ANSWER_SECONDS):
            pass  # what it answers is nobody's concern; an error's status is raised
    except HTTPError:
        raise
    except URLError as error:
        raise OSError(getattr(error.reason, "strerror", None) or str(error.reason)) from None


def _checked(option: str, url: str) -> str:
    """urllib would open file: and ftp: too."""
    if not url.startswith(("http://", "https://")) or not _host(url):
        raise UsageError(f"{option} {url!r}: must be an http:// or https:// address")
    return url


def _host(url: str) -> str:
    """All of an address that is no secret."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
