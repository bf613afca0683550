"""Digests of a whole file, computed as its bytes pass.

CRC-32 is what is always taken: it runs at memory speed, needs nothing but the standard library where speed does not
matter, is what torch's archives carry inside, and S3 checks it (`ChecksumCRC32`). SHA-256, on request, is what the
Hugging Face Hub and `sha256sum` check, at a thirtieth of the speed. docs/integrity.md has the figures.
"""

from collections.abc import Iterable

from ckptkit.formats import Fault
from ckptkit.formats.crc import crc32

ALGORITHMS = ("crc32", "sha256")


class Digests:
    """A sink that takes the digests asked for; `values()` has them by name, in hexadecimal."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._wanted = frozenset(algorithms) & frozenset(ALGORITHMS)
        self._crc = 0
        self._sha = None
        if "sha256" in self._wanted:
            import hashlib  # OpenSSL: as long to load as all that a sweep with nothing to do reads

            self._sha = hashlib.sha256()

    def feed(self, chunk: memoryview) -> None:
        """The next bytes of the file."""
        if "crc32" in self._wanted:
            self._crc = crc32(chunk, self._crc)
        if self._sha:
            self._sha.update(chunk)

    def faults(self) -> list[Fault]:
        """Nothing: what the digests should be, the manifest knows."""
        return []

    def values(self) -> dict[str, str]:
        """{algorithm: digest} of all that passed."""
        values = {"crc32": f"{self._crc:08x}"} if "crc32" in self._wanted else {}
        return values | ({"sha256": self._sha.hexdigest()} if self._sha else {})
