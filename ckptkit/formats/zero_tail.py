"""A tail of zeros that never reached the disk: a file of the right size whose last pages were lost.

Delayed allocation writes whole pages, so such a tail begins where a page does, in the middle of a tensor that has
values before it. A tensor that simply holds zeros begins its zeros at an element, wherever that lies.
"""

from collections.abc import Sequence

from ckptkit.formats import Fault

PAGE_BYTES = 4096
CLOSE_BYTES = 8  # the last value before the page may itself end in zero bytes
LOOK_BYTES = 64


class ZeroTail:
    """A sink that knows where the zeros at the end of what passed begin."""

    def __init__(self, starts: Sequence[int] = ()) -> None:
        """starts: where tensors begin in the file: zeros that begin with one are the tensor's own."""
        self._starts = frozenset(starts)
        self._end = 0
        self.begins = 0  # all that passed so far from here on is zero

    def feed(self, chunk: memoryview) -> None:
        """The next bytes; only where the last of them are zeros is there anything to look for."""
        self._end += len(chunk)
        last = bytes(chunk[-LOOK_BYTES:])
        if not last.strip(b"\0") and len(chunk) > LOOK_BYTES:
            last = bytes(chunk)
        filled = len(last.rstrip(b"\0"))
        if filled:
            self.begins = self._end - len(last) + filled

    def faults(self) -> list[Fault]:
        """One fault if the zeros at the end are a page or more and begin where a page does."""
        page = -(-self.begins // PAGE_BYTES) * PAGE_BYTES
        lost = self._end - page
        if lost < PAGE_BYTES or page - self.begins > CLOSE_BYTES or self._starts & {*range(self.begins, page + 1)}:
            return []
        return [("zeroed-tail", f"its last {lost} bytes are zeros from a page's start on: they never reached the disk")]
