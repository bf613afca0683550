"""torch's and tokenizers' files are written by Python under the guard: the same bytes, and nothing else sees it."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models

from ckptkit.guard.writers import in_python, replaced


def tokenizer() -> Tokenizer:
    return Tokenizer(models.WordLevel({"wörd": 0, "\N{SNOWMAN}": 1}, unk_token="wörd"))


@pytest.mark.parametrize("pretty", [True, False])
def test_a_tokenizer_is_written_as_by_itself(tmp_path: Path, pretty: bool) -> None:
    tokenizer().save(f"{tmp_path}/its own", pretty)
    with in_python():
        tokenizer().save(f"{tmp_path}/python's", pretty=pretty)
    assert (tmp_path / "its own").read_bytes() == (tmp_path / "python's").read_bytes()


def test_an_error_has_its_number_and_all_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = torch.save, Tokenizer.save
    for save in (lambda path: torch.save({}, path), lambda path: tokenizer().save(path)):
        with pytest.raises(NotADirectoryError), in_python():
            save(f"{tmp_path}/file/below")
        assert (torch.save, Tokenizer.save) == before


def test_another_thread_calls_the_real_one() -> None:
    seen = []

    class Owner:
        save = staticmethod(lambda: seen.append("real"))

    with replaced(Owner, lambda original: lambda: seen.append("ours")):
        other = threading.Thread(target=Owner.save)
        other.start()
        other.join()
        Owner.save()
    Owner.save()
    assert seen == ["real", "ours", "real"]


def test_what_cannot_be_replaced_keeps_its_own() -> None:
    class Fixed(type):
        def __setattr__(cls, name: Any, value: Any) -> None:
            raise TypeError(f"cannot set {name!r} attribute of immutable type")

    class Owner(metaclass=Fixed):
        save = staticmethod(lambda: "its own")

    with replaced(Owner, lambda original: lambda: "ours"):
        assert Owner.save() == "its own"
