"""The build's own step: man pages and completions, made from the parsers, for the share/ of an installation."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Shared(BuildHookInterface):
    """Writes them into a folder of its own: the sources stay as they are, and may be read-only."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add share/man/man1/ckptkit.1 and its like to the wheel."""
        sys.path.insert(0, self.root)
        sys.dont_write_bytecode = True
        from ckptkit.cli import help_pages

        self.folder = tempfile.TemporaryDirectory()
        for name, text in help_pages.shared().items():
            file = Path(self.folder.name, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(file)] = f"share/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel has them."""
        self.folder.cleanup()
