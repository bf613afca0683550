"""What the recipes made: nobody's machine is in it, each case has its recipe and its order, and it is small."""

import ast
import pickle
import re
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.layouts.made import keys_of

HERE = Path(__file__).resolve().parent
MADE, RECIPES = HERE / "made", HERE / "recipes"
CASES = sorted(path.name for path in MADE.iterdir() if path.is_dir())
BOUND = 8_000_000

# Without a look at what stands before: in a pickle that is the length of the text, which may be a letter.
ABSOLUTE = re.compile(rb"/(?:home|root|tmp|work|workspace|Users|mnt|opt|content|kaggle)/")


def traces(data: bytes, host: str) -> list[bytes]:
    """What tells in these bytes on whose machine they were made: absolute paths, and its name."""
    words = [host.encode()] if len(host) > 3 else []  # a shorter one stands in any megabyte of numbers
    return ABSOLUTE.findall(data) + [word for word in words if re.search(rb"\b%b\b" % re.escape(word), data)]


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("case", CASES)
def test_no_made_file_tells_on_whose_machine_it_was_made(case: str) -> None:
    paths = [*files(MADE / case), MADE / f"{case}.order"]
    found = {path: traces(path.read_bytes(), socket.gethostname()) for path in paths}
    assert not {path: marks for path, marks in found.items() if marks}


@pytest.mark.parametrize("case", CASES)
def test_no_made_file_hides_its_text_by_compression(case: str) -> None:
    """The search above reads the bytes as they lie."""
    for path in filter(zipfile.is_zipfile, files(MADE / case)):
        with zipfile.ZipFile(path) as archive:
            assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}, path


@pytest.mark.parametrize("case", CASES)
def test_no_made_link_leads_out_of_its_run(case: str) -> None:
    run = MADE / case
    links = [path for path in run.rglob("*") if path.is_symlink()]
    assert all(path.resolve().is_relative_to(run) for path in links)


PLACES = ("/home/ann/run", "/root/run", "/tmp/x", "/work/main", "/Users/ann/run", "/mnt/disk/run", "/workspace/run")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_path_is_found(place: str, protocol: int, tmp_path: Path) -> None:
    """In a pickle, in a torch archive (a zip whose members are not compressed), in JSON."""
    value = pickle.dumps({"output_dir": place + "/" + "x" * 60}, protocol)  # its length is a letter
    with zipfile.ZipFile(tmp_path / "training_args.bin", "w") as archive:
        archive.writestr("training_args/data.pkl", value)
    for data in (value, (tmp_path / "training_args.bin").read_bytes(), b'{"output_dir": "%b"}' % place.encode()):
        assert traces(data + b"/", "box")


def test_a_planted_host_name_is_found() -> None:
    assert traces(b'{"host": "gpu-box-17"}', "gpu-box-17") == [b"gpu-box-17"]
    assert traces(b'{"host": "gpu-box-170"}', "gpu-box-17") == []


def cases_of(recipe: Path) -> list[str]:
    """The keys of CASES, and of LISTED (the framework resumes from none of those).

    They are read without an import: the libraries of a recipe are not here.
    """
    assigned = [node for node in ast.parse(recipe.read_text()).body if isinstance(node, ast.Assign)]
    tables = [node.value for node in assigned if getattr(node.targets[0], "id", "") in ("CASES", "LISTED")]
    return [key for table in tables for key in keys_of(table)]


def test_each_case_has_one_recipe() -> None:
    recipes = [case for recipe in RECIPES.glob("*.py") for case in cases_of(recipe)]
    assert sorted(recipes) == sorted(set(recipes))
    assert set(CASES) <= set(recipes)


def left_by(order: str) -> set[str]:
    """The names that are there once all of the events of an .order file have happened."""
    names: set[str] = set()
    for event in order.splitlines():
        if event.endswith(" (deleted)"):
            names = {name for name in names if not below(name, event.removesuffix(" (deleted)"))}
        elif " -> " in event:
            old, new = event.split(" -> ")
            names = {new + name.rstrip("/").removeprefix(old) if below(name, old) else name for name in names} | {new}
        else:
            names.add(event.split(" => ")[0].rstrip("/"))
    return names


def below(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


@pytest.mark.parametrize("case", CASES)
def test_each_order_ends_in_files_that_exist(case: str) -> None:
    names = left_by((MADE / f"{case}.order").read_text())
    assert names
    assert not [name for name in names if not (MADE / case / name).exists() and not (MADE / case / name).is_symlink()]


@pytest.mark.parametrize("case", CASES)
def test_each_order_names_every_file_of_its_directories(case: str) -> None:
    """An order that lacks a file would not be killed there."""
    names = left_by((MADE / f"{case}.order").read_text())
    paths = [MADE / case / name for name in names]
    folders = [path for path in paths if path.is_dir() and not path.is_symlink()]
    written = {str(path.relative_to(MADE / case)) for folder in folders for path in files(folder)}
    assert written <= names


def test_an_order_follows_renames_and_deletions() -> None:
    order = "a.tmp/\na.tmp/x\na.tmp/.t\na.tmp/.t -> a.tmp/y\na.tmp -> a\nb\nb (deleted)\nlast => a\n"
    assert left_by(order) == {"a", "a/x", "a/y", "last"}


def test_all_of_it_is_small() -> None:
    assert sum(path.stat().st_size for path in files(MADE)) < BOUND
