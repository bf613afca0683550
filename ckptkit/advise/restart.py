"""PURE: the command that goes on with a training, from the one that started it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAG = "--resume_from_checkpoint"
SPELLINGS = (FLAG, "--resume-from-checkpoint")
PLACEHOLDER = f"python YOUR_SCRIPT.py {FLAG} "
# What makes each field of TrainingArguments a flag, and a script that adds that flag itself.
TAKES_FLAG = re.compile(r"\bHfArgumentParser\b|\bTrlParser\b|[\"']--resume_from_checkpoint[\"']")
TAKES_DASHES = re.compile(r"[\"']--resume-from-checkpoint[\"']")
# With the guard that means the newest intact one, and our own train.py says it so.
BY_ITSELF = re.compile(r"resume_from_checkpoint\s*=\s*(?:True\b|[^,)\n]*\bor True\b)")
GUARDED = re.compile(r"\bckptkit\b[\s\S]*\bguard\(")
# By the name of a flag or variable, or by what a secret of the usual services looks like, whatever its flag is called.
SECRET = re.compile(
    r"(?i:token|secret|passw|pwd|[_-]key(?![a-z_-])|api_?key|access_?key|credential|bearer|\bauth\b|[_-]auth\b|\bauth[_-])"
    r"|://[^/\s]*@|\b(?:hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|AIza|eyJ)[\w-]{10}|\bA[KS]IA[A-Z0-9]{12}"
    r"|\b[0-9a-f]{40}\b"
)
PROGRAM = re.compile(r"(?:.*/)?(?:python[\d.]*|torchrun|accelerate|deepspeed)")
# As a shell's trace (`set -x`), a copied prompt, script(1) and DeepSpeed's launcher write it down.
STARTS = (
    re.compile(r"^\++ (?P<command>.+)$"),
    re.compile(r"^(?:\S+[:@]\S* ?[$#]|\$) (?P<command>.+)$"),
    re.compile(r"^Script started on .*\[COMMAND=\"(?P<command>[^\"]+)\""),
    re.compile(r"^\[.*\] \[INFO\] .*\bcmd = (?P<command>.+)$"),
)
FIRST_LINES = 50
OUTPUT = re.compile(r"\s(?:[12&]?>|\|).*$")  # where it went: `> train.log 2>&1`, `2>&1 | tee train.log`
SHELL = re.compile(r"[|&;<>$`()*?]")  # what a shell does with a word is not known any more


def script_of(words: Sequence[str]) -> str:
    """Given a command line, return the training script that it names, "" if there is none."""
    return next((word for word in words if word.endswith(".py")), "")


def is_start(words: Sequence[str]) -> bool:
    """Whether a command line starts a script, and holds nothing that must not be shown again."""
    if not words or not script_of(words):
        return False
    # A variable before the program belongs to the command: CUDA_VISIBLE_DEVICES=0 python train.py
    program = next((word for word in words if not re.fullmatch(r"\w+=.*", word)), "")
    shown = all(word.isprintable() and not SECRET.search(word) for word in words)
    return bool(PROGRAM.fullmatch(program)) and shown


def starts_in(log: str) -> list[str]:
    """Given a log's beginning, return the commands that its first lines show, in their order."""
    commands = []
    for line in log.splitlines()[:FIRST_LINES]:
        commands += [match["command"] for pattern in STARTS if (match := pattern.match(line.strip()))]
    return [command for command in (OUTPUT.sub("", shown) for shown in commands) if not SHELL.search(command)]


def again(words: Sequence[str], script: str, checkpoint: str) -> list[str] | None:
    """Given the words that started a training and its script's text, return those that go on from a checkpoint.

    None where nothing shows that the script takes the flag: then a person has to say how it resumes.
    """
    at = next((n for n, word in enumerate(words) if word.split("=", 1)[0] in SPELLINGS), None)
    if at is not None:
        return _replaced(list(words), at, checkpoint)
    if TAKES_DASHES.search(script):
        return [*words, SPELLINGS[1], checkpoint]
    if TAKES_FLAG.search(script):
        return [*words, FLAG, checkpoint]
    return list(words) if GUARDED.search(script) and BY_ITSELF.search(script) else None


def _replaced(words: list[str], at: int, checkpoint: str) -> list[str]:
    name, equals, _ = words[at].partition("=")
    if equals:
        words[at] = f"{name}={checkpoint}"
    else:
        valued = len(words) > at + 1 and not words[at + 1].startswith("--")
        words[at + 1 : at + 1 + valued] = [checkpoint]
    return words
