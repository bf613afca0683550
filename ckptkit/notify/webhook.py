"""Alerts as JSON to a URL, and as messages to a chat."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from ckptkit.calling import pip_install
from ckptkit.errors import UsageError
from ckptkit.notify.sink import ANSWER_SECONDS, WHOLE_SECONDS, AlertSink
from ckptkit.system.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ckptkit.model.events import Alert, Sight

TRIES = 3

PAUSE_SECONDS = 1.0


class Webhook(AlertSink):
    """POST, with retries; anything but a 2xx answer is a failure."""

    def __init__(self, url: str, rest: Callable[[float], None] = time.sleep) -> None:
        self.url, self.rest = _checked("--webhook", url), rest
        self.name = f"--webhook {_host(url)}"
        self._timeout = Timeout(WHOLE_SECONDS)

    def alert(self, alert: Alert, document: Mapping[str, object]) -> None:
        """Raises OSError (urllib's errors are children of it) or TimeoutError."""
        body = json.dumps(document).encode()
        self._timeout.call(lambda: _insist(lambda: _ask(self.url, body), self.rest))


class Ping(AlertSink):
    """GET the URL after each look, and URL/fail after one that could see nothing."""

    def __init__(self, url: str) -> None:
        self.url = _checked("--ping", url)
        self.name = f"--ping {_host(url)}"
        self._timeout = Timeout(WHOLE_SECONDS)

    def look(self, sight: Sight, active_alerts: Mapping[tuple[str, str], int]) -> None:
        """Raises OSError or TimeoutError. Tried once: the next look is the next try."""
        url = self.url if sight.volumes else self.url.rstrip("/") + "/fail"
        self._timeout.call(lambda: _ask(url))


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

    from ckptkit.version import __version__

    headers = {"User-Agent": f"ckptkit/{__version__}"} | ({"Content-Type": "application/json"} if body else {})
    try:
        with urlopen(Request(url, body, headers), timeout=ANSWER_SECONDS):  # noqa: S310 - `_checked` lets http(s) through alone
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


KINDS = {"red": "failure", "yellow": "warning", "green": "success"}


class Chat(AlertSink):
    """One message an alert, to all addresses."""

    name = "--apprise"

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises UsageError if Apprise is not there, or does not know an address."""
        try:
            import apprise
        except ImportError:
            fix = pip_install("apprise")
            raise UsageError(f"--apprise needs Apprise, which is not installed; fix: {fix}") from None
        self._to = apprise.Apprise()
        for url in urls:
            if not self._to.add(url):
                raise UsageError(f"--apprise: Apprise knows no address that begins with {url.partition('://')[0]!r}")
        self._timeout = Timeout(WHOLE_SECONDS)

    def alert(self, alert: Alert, document: Mapping[str, object]) -> None:
        """Raises RuntimeError or TimeoutError."""
        body = alert.message + (f"\nfix: {alert.command}" if alert.command else "")
        title = f"ckptkit: {alert.code}"
        kind = "info" if alert.rung and alert.level == "green" else KINDS[alert.level]  # noted, and nothing is over
        if not self._timeout.call(lambda: self._to.notify(body=body, title=title, notify_type=kind)):
            raise RuntimeError("at least one address refused it")
