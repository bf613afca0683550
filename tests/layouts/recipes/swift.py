"""ms-swift, supervised fine-tuning of a LoRA: `v0-DATE-TIME/checkpoint-N/`, and the link `last-checkpoint` to the last.

It makes every path absolute and writes them into args.json and training_args.bin: here they stay relative.
Each start has a directory of its own; a resume is told which checkpoint, it does not look for one.
"""

import json
import os
import shutil
from pathlib import Path

import plain

CASES = {"swift": 1}
SOURCE = Path("tiny-llama")  # the model and its data, beside the run


def make_source():
    """A llama with a tokenizer of words, and questions with answers."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", "<unk>", *(f"word{number}" for number in range(plain.VOCABULARY - 4))]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    PreTrainedTokenizerFast(tokenizer_object=words, chat_template=template, **special).save_pretrained(SOURCE)
    plain.tiny_llama(length=64).save_pretrained(SOURCE)
    with open("data.jsonl", "w") as file:
        for row in plain.tokens(32).tolist():
            text = [names[number] for number in row]
            talk = [("user", text[:4]), ("assistant", text[4:])]
            messages = [{"role": role, "content": " ".join(part)} for role, part in talk]
            file.write(json.dumps({"messages": messages}) + "\n")


def arguments(case, resume):
    chosen = {
        "model": SOURCE,
        "model_type": "llama",
        "template": "default",
        "dataset": "data.jsonl",
        "output_dir": case,
        "logging_dir": "logs",
        "torch_dtype": "float32",
        "attn_impl": "eager",
        "tuner_type": "lora",
        "lora_rank": 2,
        "lora_dropout": 0.2,
        "target_modules": "q_proj",
        "max_steps": plain.STEPS,
        "save_steps": plain.SAVE_EVERY,
        "save_total_limit": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": plain.BATCH,
        "learning_rate": 0.05,
        "gradient_accumulation_steps": 1,
        "split_dataset_ratio": 0,
        "dataset_num_proc": 1,
        "dataloader_num_workers": 0,
        "report_to": "none",
        "use_cpu": "true",
    }
    if resume:
        chosen["resume_from_checkpoint"] = resume
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


def note_losses():
    """The losses in full, as each step gives them; and no save of the last step: a resume has that one to do."""
    from swift.trainers import Seq2SeqTrainer

    losses, step, save = [], Seq2SeqTrainer.training_step, Seq2SeqTrainer._save_checkpoint

    def noted(self, *args, **more):
        loss = step(self, *args, **more)
        losses.append(float(loss))
        return loss

    def not_at_the_end(self, *args, **more):
        return None if self.state.global_step == plain.STEPS else save(self, *args, **more)

    Seq2SeqTrainer.training_step, Seq2SeqTrainer._save_checkpoint = noted, not_at_the_end
    return losses


def train(case, resume):
    plain.seed()
    make_source()
    from swift import sft_main

    os.path.abspath = os.path.normpath
    losses = note_losses()
    if resume == "auto":
        resume = str(max(Path(case).glob("v*/last-checkpoint")))
    try:
        done = sft_main(arguments(case, resume))
    finally:
        shutil.rmtree(SOURCE)
        Path("data.jsonl").unlink()
    return {"resumed_step": done["global_step"] - len(losses), "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
