"""A save that broke off at each of its files, in the order in which its writer really wrote them (made/*.order).

With a mark it is never `intact`; without one, docs/layouts.md says what can be told. Beside a whole one of its kind it
is deleted where it is `incomplete`, and the whole one is what a resume gets. The frameworks' own word on such states is
asked under `bin/test --layouts`.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

import ckptkit
from ckptkit.ops.prune import prune
from ckptkit.ops.read import verify
from ckptkit.policy.rules import Range, Rules
from tests.layouts.made import CASES, MADE, aged, copied, events
from tests.support.typed import present

SAVES = [case for case in CASES if case not in ("lightning-single", "lightning-last-link", "lightning-weights-only")]
ONE_KIND = ("lightning-sharded", "accelerate-simpletuner")  # the other one there is of another name
# Whole weights without a mark, and nothing else: nobody can tell them from a model that a person laid down there.
WEIGHTS = re.compile(
    r"README\.md|(generation_|adapter_)?config\.json|(adapter_)?model\.safetensors|pytorch_lora_weights\.safetensors"
    r"|unet(/.*)?|tokenizer.*|(sentence_bert_config|training_state)\.json|modules\.json|config_sentence_transformers\.json|(query|document|[0-9])_.*|router_config\.json"
)


class Save:
    """The last save of a case, replayed: what its run held before it, and each file as the writer came to it."""

    def __init__(self, case: str, top: Path) -> None:
        self.case, self.top = case, top
        shutil.copytree(MADE / case, top, symlinks=True)
        first = next(events(case))
        self.folder = first.name
        self.events = [event for event in events(case) if f"{event.name}/".startswith(f"{self.folder}/")]
        self.events = [event for event in self.events if event.kind != "removal"]
        self.whole = MADE / case
        shutil.rmtree(top / self.folder)

    def lay(self, count: int, half: bool) -> None:
        """The first `count` events happened, and with `half` the last file came to its middle only."""
        if (self.top / self.folder).exists():
            shutil.rmtree(self.top / self.folder)
        for number, event in enumerate(self.events[:count]):
            if event.kind == "directory":
                (self.top / event.name).mkdir(parents=True, exist_ok=True)
            elif event.kind == "rename":
                self._write(event.target, half=False)
                (self.top / event.name).unlink(missing_ok=True)
            elif event.kind == "file":
                self._write(event.name, half=half and number == count - 1)
        aged(self.top)

    def _write(self, name: str, half: bool) -> None:
        content = (self.whole / self._final(name)).read_bytes()
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[: len(content) // 2] if half else content)

    def _final(self, name: str) -> str:
        """The name that a temporary file gets."""
        return next((event.target for event in self.events if event.kind == "rename" and event.name == name), name)

    def is_whole(self, count: int, half: bool) -> bool:
        """Whether all that the writer wrote is there."""
        cut = half and self.events[count - 1].kind == "file"
        return not cut and all(event.kind == "directory" for event in self.events[count:])

    def is_weights_alone(self) -> bool:
        """Whether nothing shows that a save broke off there."""
        there = [path.relative_to(self.top / self.folder) for path in (self.top / self.folder).rglob("*")]
        return all(WEIGHTS.fullmatch(str(path)) for path in there)


@pytest.mark.parametrize("case", SAVES)
def test_killed_at_each_file_it_is_never_taken_for_whole(case: str, tmp_path: Path) -> None:
    save = Save(case, tmp_path / "made")
    run, wrong = save.top / CASES[case].run, []
    for count in range(1, len(save.events) + 1):
        for half in (False, True):
            if save.is_whole(count, half):
                continue
            save.lay(count, half)
            state, code = _said(run, save.folder)
            told = state == "incomplete" or (state == "unknown" and (code == "fewer-files" or save.is_weights_alone()))
            if not told and not (case == "accelerate-simpletuner" and _save_state_was_whole(save)):
                wrong.append((save.events[count - 1], half, state))
    assert wrong == []


def _save_state_was_whole(save: Save) -> bool:
    """SimpleTuner adds its own files after Accelerate's, and no save before this one of its kind had them."""
    path = save.top / save.folder / "random_states_0.pkl"
    return path.exists() and path.stat().st_size > 10_000


def _said(run: Path, folder: str) -> tuple[str, str]:
    """Its state, and the code of the finding that decided."""
    judged = {j.checkpoint.name: j.verdict for j in verify(str(run))}
    verdict = judged.get(Path(folder).name)
    return (verdict.state, verdict.findings[0].code if verdict.findings else "") if verdict else ("no checkpoint", "")


@pytest.mark.parametrize("case", [case for case in SAVES if len(CASES[case].checkpoints) == 2 and case not in ONE_KIND])
def test_a_torn_one_goes_and_a_resume_gets_the_whole_one(case: str, tmp_path: Path) -> None:
    save = Save(case, tmp_path / "made")
    run = save.top / CASES[case].run
    whole = next(name for name in CASES[case].checkpoints if name != Path(save.folder).name)
    save.lay(next(n for n in range(len(save.events) - 1, 0, -1) if save.events[n - 1].kind == "file"), half=True)
    assert ckptkit.latest(str(run)).path == os.path.join(os.path.realpath(run), whole)
    done = prune(str(run), Rules(keep_last=Range(2, 2)), settle=False)
    assert [os.path.basename(path) for path in present(done.outcome).deleted] == [Path(save.folder).name]
    assert (run / whole).exists()


@pytest.mark.parametrize("case", ["lightning-single", "lightning-weights-only"])
def test_a_file_of_lightning_that_is_cut_anywhere_is_incomplete(case: str, tmp_path: Path) -> None:
    run = copied(case, tmp_path / "made")
    path = run / "epoch=1-step=6.ckpt"
    whole = path.read_bytes()
    for kept in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)
        (judged,) = verify(str(path))
        assert judged.verdict.state == "incomplete", kept
    assert ckptkit.latest(str(run), weights_only_ok=True).path.endswith("last.ckpt")
