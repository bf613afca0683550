"""Which errors inside a save are the disk's, in the words of each library that writes."""

import errno

import pytest

from ckptkit.guard.storage_errors import broke_off, is_storage_error, one_line

DISK = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.ENOTCONN, "Transport endpoint is not connected"),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    Exception("Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: ... })"),
    RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
    RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    RuntimeError("basic_ios::clear: iostream error"),
    RuntimeError("can't start new thread"),
]
PROGRAM = [
    KeyError("loss"),
    TypeError("unsupported operand"),
    RuntimeError("CUDA out of memory"),
    ValueError("os error"),
]


def raised_again(error: Exception) -> None:
    try:
        raise error
    except Exception as cause:
        raise ValueError("the checkpoint was not saved") from cause


@pytest.mark.parametrize("error", DISK, ids=str)
def test_what_the_disk_says_is_the_disks_also_behind_another_error(error: Exception) -> None:
    assert is_storage_error(error)
    with pytest.raises(ValueError, match="not saved") as outer:
        raised_again(error)
    assert is_storage_error(outer.value) and one_line(outer.value) == " ".join(str(error).split())


@pytest.mark.parametrize("error", PROGRAM, ids=repr)
def test_what_the_program_says_is_not(error: Exception) -> None:
    assert not is_storage_error(error)


def test_an_upload_that_failed_broke_no_write_off() -> None:
    assert broke_off(OSError(errno.ENOSPC, "full", "/run/checkpoint-5/optimizer.pt"), "/run/checkpoint-5")
    assert not broke_off(OSError(errno.EACCES, "denied", "/elsewhere"), "/run/checkpoint-5")
    assert not broke_off(OSError(errno.ECONNREFUSED, "refused"), "/run/checkpoint-5")
