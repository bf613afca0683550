"""A llama, a tokenizer of words, questions with answers on the disk: for programs that train what they find there."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.layouts.recipes import plain

SOURCE, DATA = Path("tiny-llama"), Path("data.jsonl")
NAMES = ["<pad>", "<s>", "</s>", "<unk>", *(f"word{number}" for number in range(plain.VOCABULARY - 4))]


@contextlib.contextmanager
def model_and_data(length: Any) -> Iterator[None]:
    """SOURCE and DATA lie beside the run while it trains."""
    _tokenizer().save_pretrained(SOURCE)
    plain.tiny_llama(length=length).save_pretrained(SOURCE)
    with DATA.open("w") as file:
        for row in plain.tokens(32).tolist():
            talk = [("user", row[:4]), ("assistant", row[4:])]
            words = [(role, " ".join(NAMES[number] for number in part)) for role, part in talk]
            file.write(json.dumps({"messages": [{"role": role, "content": text} for role, text in words]}) + "\n")
    try:
        yield
    finally:
        shutil.rmtree(SOURCE)
        DATA.unlink()


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(NAMES)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    return PreTrainedTokenizerFast(tokenizer_object=words, chat_template=template, **special)


def note_losses(trainer_class: Any) -> list[float]:
    """The losses in full, as each step gives them; and no save of the last step: a resume has that one to do."""
    losses, step, save = [], trainer_class.training_step, trainer_class._save_checkpoint

    def noted(self: Any, *args: Any, **more: Any) -> Any:
        loss = step(self, *args, **more)
        losses.append(float(loss))
        return loss

    def not_at_the_end(self: Any, *args: Any, **more: Any) -> Any:
        return None if self.state.global_step == plain.STEPS else save(self, *args, **more)

    trainer_class.training_step, trainer_class._save_checkpoint = noted, not_at_the_end
    return losses
