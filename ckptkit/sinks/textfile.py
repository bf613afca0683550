"""--prom FILE: the last look for Prometheus' node_exporter (its textfile collector)."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from ckptkit.model.events import Sight
from ckptkit.sinks import Sink


class Textfile(Sink):
    """Replaced whole at each look, so that no collector reads half of it; readable by the collector's user."""

    def __init__(self, path: str, render: Callable[[Sight, Mapping[tuple[str, str], int]], str]) -> None:
        """render: makes the text of a look."""
        self.path, self.render = os.path.abspath(path), render
        self.name = f"--prom {path}"

    def look(self, sight: Sight, standing: Mapping[tuple[str, str], int]) -> None:
        """Raises OSError; then the file is the one of the look before."""
        temporary = f"{self.path}.{os.getpid()}"  # does not end in .prom, so no collector takes it
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(self.render(sight, standing))
                os.fchmod(file.fileno(), 0o644)
            os.replace(temporary, self.path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
