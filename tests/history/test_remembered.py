"""What a user decided, in small files: each speaks for the path and the policy that it names, and for no other."""

import json

from ckptkit.history import remembered

POLICY, OTHER = [2, None], [1, None]


def test_a_file_whose_name_collides_speaks_for_its_own_path_alone() -> None:
    remembered.remember_policy("/runs/a", POLICY)
    path = remembered.file_of("policy", "/runs/a")
    assert remembered.recall_policy("/runs/a") == POLICY
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"run": "/runs/b", "policy": POLICY}, file)  # of the same checksum
    assert remembered.recall_policy("/runs/a") is None
    remembered.remember_policy("/runs/a", OTHER)
    assert remembered.recall_policy("/runs/a") == OTHER


def test_what_went_for_room_is_counted_for_the_policy_that_waits_alone() -> None:
    assert remembered.recall_room("/runs/a", POLICY) == 0
    remembered.remember_room("/runs/a", POLICY, 3)
    assert (remembered.recall_room("/runs/a", POLICY), remembered.recall_room("/runs/a", OTHER)) == (3, 0)
    remembered.remember_policy("/runs/a", POLICY)  # somebody said yes
    assert remembered.recall_room("/runs/a", POLICY) == 0


def test_what_was_told_is_news_once() -> None:
    assert [remembered.is_news("/runs/a", told) for told in (["x"], ["x"], ["y"], ["y"], ["x"])] == [
        True, False, True, False, True,
    ]  # fmt: skip
