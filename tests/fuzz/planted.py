"""Defects put there on purpose: a harness that does not find these finds nothing."""

import time


def error(data: bytes) -> None:
    """A KeyError behind two bytes in a row, which are found one after the other."""
    if data[:1] == b"N" and data[1:2] == b"O":
        raise KeyError("planted")


def slow(data: bytes) -> None:
    """A second and a half of work, for inputs of a length that only mutation makes."""
    began = time.process_time()
    while len(data) > 10 and time.process_time() - began < 1.5:
        pass


def hang(data: bytes) -> None:
    """What never returns; libFuzzer's alarm ends it."""
    while len(data) > 10:
        pass


def memory(data: bytes) -> None:
    """200 MB, touched, for whoever begins with a large number."""
    if data[:1] > b"\xf0":
        bytearray(b"\1") * (200 << 20)
