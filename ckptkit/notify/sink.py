"""Where the monitor's alerts go. Each sink raises what went wrong; whoever calls it goes on. One kind a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptkit.model.events import Alert, Sight

ANSWER_SECONDS = 5.0  # for which a host may be silent
WHOLE_SECONDS = 20.0  # for which all of one delivery may last, name look-up and retries included


class AlertSink:
    """Takes alerts as they come, and every look. `name` says which one it is in a message: no secret of an address."""

    name = ""

    def alert(self, alert: Alert, document: Mapping[str, object]) -> None:
        """One alert, and the same as its JSON document."""

    def look(self, sight: Sight, active_alerts: Mapping[tuple[str, str], int]) -> None:
        """One look, after its alerts; active_alerts: {(subject, code): rung} of all that is exceeded."""
