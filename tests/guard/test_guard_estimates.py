"""What a save will take is an estimate: one that can't be made, or is wrong, costs neither the training nor a save."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit.ops.read import judge, scan
from tests.support.typed import Before, Names, SmallDisk

MiB = 1 << 20
LAST_TWO = ["checkpoint-6", "checkpoint-8"]


def trained(
    run: str | Path,
    override: Any = None,
    guarded: bool = True,
    prepare: Callable[[Any], None] = lambda trainer: None,
    **settings: Any,
) -> Any:
    """A Trainer that saved every 2 of 8 steps and keeps 2. override: methods of a person's, without a base class.

    prepare: called with the Trainer before the guard.
    """
    import tiny

    quick = dict(max_steps=8, save_steps=2, save_total_limit=2)
    kind = type("Persons", (override, tiny.Trainer), {}) if override else tiny.Trainer
    trainer = tiny.trainer(run, kind=kind, **{**quick, **settings})
    prepare(trainer)
    if guarded:
        ckptkit.guard(trainer)
    trainer.train()
    return trainer


def saved_all(trainer: Any) -> Any:
    """Whether it trained to its end and skipped nothing."""
    return trainer.state.global_step == 8 and trainer._ckptkit_guard.skipped == 0


def all_resumable(run: str | Path) -> bool:
    return all(j.verdict.resumable for j in judge(scan(str(run)), level="full", quiet=0))


# --- one that can't be made -------------------------------------------------------------------------------------------


def tuned(method: str, **more: Any) -> Any:
    """A model of which peft trains no layer that is there, but virtual tokens of its own."""
    import peft
    import tiny

    config = getattr(peft, method)(task_type="CAUSAL_LM", num_virtual_tokens=4, **more)
    return peft.get_peft_model(tiny.model(lora=False), config)


METHODS = {
    "PromptTuningConfig": {},
    "PromptEncoderConfig": dict(encoder_hidden_size=64),
    "PrefixTuningConfig": dict(prefix_projection=True, encoder_hidden_size=64),
}


@pytest.mark.parametrize("method", METHODS)
def test_virtual_tokens_are_trained_and_saved(tmp_path: Path, names: Names, method: str) -> None:
    assert saved_all(trained(tmp_path, of=tuned(method, **METHODS[method])))
    assert names(tmp_path) == LAST_TWO and all_resumable(tmp_path)


def counts_its_steps(trainer: Any) -> None:
    """Its state holds a number, beside what belongs to the parameters."""
    import torch

    class Counts(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step(closure)
            self.state["global_step"] = 1

    trainer.optimizer = Counts([p for p in trainer.model.parameters() if p.requires_grad], lr=1e-3, momentum=0.9)


def test_an_optimizer_whose_state_holds_more_than_tensors_is_saved(tmp_path: Path, names: Names) -> None:
    assert saved_all(trained(tmp_path, prepare=counts_its_steps))
    assert names(tmp_path) == LAST_TWO


class SavesItsWay(Before):
    """As torch does: safetensors writes no sparse tensor."""

    def save_model(self, output_dir: Any = None, _internal_call: bool = False) -> None:
        import torch

        os.makedirs(output_dir, exist_ok=True)
        torch.save(self.model.state_dict(), f"{output_dir}/pytorch_model.bin")


def test_a_model_with_a_sparse_buffer_is_saved_its_own_way(tmp_path: Path, names: Names) -> None:
    import tiny
    import torch

    model = tiny.model(lora=False)
    model.register_buffer("adjacent", torch.eye(4).to_sparse())
    assert saved_all(trained(tmp_path, SavesItsWay, of=model))
    assert names(tmp_path) == LAST_TWO


def tokenizer() -> Any:
    """As RoFormer's and others' with a splitter in Python: it is taken out for the save alone."""
    import tokenizers
    from tokenizers.pre_tokenizers import BertPreTokenizer, PreTokenizer
    from transformers import PreTrainedTokenizerFast

    class Splitter:
        def pre_tokenize(self, text: Any) -> None:
            pass

    class Persons(PreTrainedTokenizerFast):
        def save_pretrained(self, *args: str | Path, **kwargs: Any) -> Any:
            self.backend_tokenizer.pre_tokenizer = BertPreTokenizer()
            written = super().save_pretrained(*args, **kwargs)
            self.backend_tokenizer.pre_tokenizer = PreTokenizer.custom(Splitter())
            return written

    words = tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")
    made = Persons(tokenizer_object=tokenizers.Tokenizer(words), unk_token="[UNK]", pad_token="[UNK]")
    made.backend_tokenizer.pre_tokenizer = PreTokenizer.custom(Splitter())
    with pytest.raises(Exception, match="cannot be serialized"):
        made.backend_tokenizer.to_str()
    return made


def without_padding(trainer: Any) -> None:
    from transformers import default_data_collator

    trainer.data_collator = default_data_collator


def test_a_tokenizer_that_can_only_be_written_within_its_own_save_is_saved(tmp_path: Path, names: Names) -> None:
    assert saved_all(trained(tmp_path, prepare=without_padding, tokenizer=tokenizer()))
    assert names(tmp_path) == LAST_TWO and (tmp_path / "checkpoint-8" / "tokenizer.json").exists()


class GathersToSave(Before):
    """Nobody may ask for the weights but within its own save."""

    gathering = False

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        type(self).gathering = True
        super().save_model(*args, **kwargs)
        type(self).gathering = False


def refuses(trainer: Any, error: BaseException) -> None:
    """The model tells its weights to nobody but its own Trainer's save."""
    original = trainer.model.state_dict

    def state_dict(*args: Any, **kwargs: Any) -> Any:
        if not trainer.gathering:
            raise error
        return original(*args, **kwargs)

    trainer.model.state_dict = state_dict


@pytest.mark.parametrize("error", [KeyError("weight"), RuntimeError("gather first"), AssertionError()], ids=repr)
def test_whatever_a_model_raises_when_it_is_measured_it_is_trained_and_saved(
    tmp_path: Path, names: Names, error: BaseException
) -> None:
    trainer = trained(tmp_path, GathersToSave, prepare=lambda trainer: refuses(trainer, error), lora=False)
    assert saved_all(trainer)
    assert names(tmp_path) == LAST_TWO and all_resumable(tmp_path)


# --- one that is wrong ------------------------------------------------------------------------------------------------


def test_an_optimizer_without_a_state_is_saved_where_the_weights_fit_twice(disk: SmallDisk, names: Names) -> None:
    import tiny

    model = tiny.model(lora=False)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    run = os.path.join(disk(int(2.35 * weights)), "run")
    assert saved_all(trained(run, of=model, optim="sgd"))
    assert names(run)[-1] == "checkpoint-8" and all_resumable(run)


class SavesWhatIsTrained(Before):
    """As trainers of a large frozen model do."""

    def _save(self, output_dir: Any = None, state_dict: Any = None) -> None:
        import torch
        from safetensors.torch import save_file

        os.makedirs(output_dir, exist_ok=True)
        weights = {name: p.detach().clone() for name, p in self.model.named_parameters() if p.requires_grad}
        save_file(weights, f"{output_dir}/model.safetensors", metadata={"format": "pt"})
        self.model.config.save_pretrained(output_dir)
        torch.save(self.args, f"{output_dir}/training_args.bin")


def test_a_save_of_the_trained_weights_alone_needs_no_room_for_the_frozen_ones(disk: SmallDisk, names: Names) -> None:
    import tiny

    model = tiny.model(lora=False, hidden_size=128, intermediate_size=256, num_hidden_layers=4)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lm_head" in name)
    assert sum(p.numel() * p.element_size() for p in model.parameters()) > 2 * MiB
    run = os.path.join(disk(2 * MiB), "run")
    assert saved_all(trained(run, SavesWhatIsTrained, of=model))
    assert names(run) == LAST_TWO


class WritesMoreAtFirst(Before):
    """What a first save has beside it, such as a merged model: 4 MiB."""

    def _save(self, output_dir: Any = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if self.state.global_step == 2:
            with open(f"{output_dir}/merged.bin", "wb") as file:
                file.write(b"x" * (4 * MiB))


def test_later_saves_need_no_room_for_what_the_first_alone_had_beside_it(disk: SmallDisk, names: Names) -> None:
    run = os.path.join(disk(7 * MiB), "run")
    assert saved_all(trained(run, WritesMoreAtFirst))
    assert names(run) == LAST_TWO and all_resumable(run)
