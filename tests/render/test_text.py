"""Plain lines: what a person reads of verdicts and failures."""

import pytest

from ckptkit.model.checkpoint import Finding, Verdict
from ckptkit.model.decision import Failure, Outcome
from ckptkit.render import text

REFUSED = Finding("scheduler.pt", "refused-pickle", "names 'posix.system'")


@pytest.mark.parametrize(
    "verdict, words",
    [
        (Verdict("intact", resumable=True, level="quick"), "intact"),
        (Verdict("intact", resumable=False, level="quick"), "intact, weights only"),
        (Verdict("intact", resumable=True, level="quick", findings=(REFUSED,)), "intact, refused"),
        (Verdict("corrupt", resumable=False, level="quick", findings=(REFUSED,)), "corrupt"),
        (Verdict("unknown", resumable=False, level="quick"), "unknown"),
    ],
)
def test_verdict_says_what_keeps_an_intact_one_from_being_resumed_from(verdict: Verdict, words: str) -> None:
    assert text.verdict_words(verdict) == words


def test_failure_names_the_file_the_fault_and_who_holds_it_and_no_control_code() -> None:
    held = Failure("/runs/a/checkpoint-5/x\n.pt", "Device or resource busy", "tail (pid 7)")
    done = Outcome(failures=(held, held._replace(held_by=None)))
    told = "can't delete /runs/a/checkpoint-5/x\\n.pt: Device or resource busy"
    assert text.failures(done) == [f"{told}; held by tail (pid 7)", told]
