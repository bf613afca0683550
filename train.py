"""Fine-tune a causal language model so that a full disk can't end it.

    bin/train                                        a tiny model, half a minute
    bin/train --max-steps 600                        the same run, further on
    bin/train --model NAME_OR_PATH --data ROWS.jsonl the real thing, with LoRA
    bin/train --config train.yaml --max-steps 600    a flag beats the file
    torchrun --nproc-per-node 2 train.py --config train.yaml    several GPUs

Every field of transformers.TrainingArguments is a flag and a key of train.yaml,
such as `num_train_epochs: 2`. A second call resumes from the newest intact
checkpoint in --output-dir; --fresh does not.
"""

import argparse
import glob
import json
import os
import shlex
import sys
import sysconfig
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, NoReturn, get_args

# --- Our own arguments, and the help: at once, before anything is set up or loaded ------------------------------------

CALLED = os.environ.pop("CKPTKIT_CALLED", "python train.py")  # what was typed, if that was bin/train


@dataclass
class Job:
    """What is trained, on what; the rest is TrainingArguments."""

    # what
    model: str = field(default="", metadata={"help": "name or path; without it a tiny byte-level Llama is made"})
    data: str = field(default="", metadata={"help": "FILE.jsonl (text or messages), FILE.txt or a data set's Hub id"})
    config: str = field(default="", metadata={"help": "a YAML file of these settings"})
    block_size: int = field(default=1024, metadata={"help": "tokens in a training example"})
    eval_blocks: int = field(default=0, metadata={"help": "examples to hold out, for --eval-strategy"})
    # LoRA
    lora_rank: int = field(default=16, metadata={"help": "0 trains all weights"})
    lora_alpha: int = field(default=32, metadata={"help": "scale of the adapter"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout in front of the adapter"})
    lora_targets: str = field(default="all-linear", metadata={"help": "names of modules, with commas"})
    lora_whole: str = field(default="", metadata={"help": "names of modules to train as a whole, with commas"})
    load_in_4bit: bool = field(default=False, metadata={"help": "QLoRA; needs Unsloth"})
    # checkpoints
    on_full: Literal["skip", "wait", "stop", "weights-only"] = field(default="skip", metadata={"help": "without room"})
    save_every: str = field(default="", metadata={"help": "a save by the clock too, such as 30m"})
    fresh: bool = field(default=False, metadata={"help": "start at step 0"})
    preflight_only: bool = field(default=False, metadata={"help": "say go or no-go, line by line, and train nothing"})


USED_MOST = """
The settings of transformers.TrainingArguments are flags too. Those used most:

  --output-dir DIR                   runs/finetune; runs/tiny without --model
  --max-steps N, --num-train-epochs N
  --save-steps N                     a checkpoint every 2000 steps
  --save-total-limit N               how many stay: 2
  --learning-rate X
  --per-device-train-batch-size N, --gradient-accumulation-steps N
  --resume-from-checkpoint PATH      that one, not the newest intact one

{called} --help-all lists all of them; it loads transformers first."""


def help_head() -> str:
    """The first lines of this file, with commands that can be pasted."""
    here = os.path.relpath(__file__) if os.path.exists("train.py") else os.path.abspath(__file__)
    return (__doc__ or "").replace("2 train.py", f"2 {here}").replace("bin/train", CALLED)


def help_page() -> str:
    """What `--help` shows."""
    called = CALLED.replace("%", "%%")
    page = argparse.ArgumentParser(
        usage=f"{called} [FLAGS]", description=help_head(),
        epilog=USED_MOST.format(called=CALLED), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for setting in fields(Job):
        options = get_args(setting.type)
        takes: dict[str, Any] = {"metavar": "|".join(options) or "VALUE"}
        takes = {"action": "store_true"} if setting.type is bool else takes
        default = f" (default {setting.default})" if setting.default not in ("", False) else ""
        page.add_argument("--" + setting.name.replace("_", "-"), help=setting.metadata["help"] + default, **takes)
    return page.format_help()


if __name__ == "__main__" and {"-h", "--help"} & set(sys.argv[1:]):
    print(help_page())
    sys.exit()

import torch

import ckptkit

# --- Unsloth for a model of your own, where it can work. It patches transformers, so it comes first. -----------------

ENGINE = "Transformers"
if any(argument.split("=")[0] in ("--model", "--config") for argument in sys.argv):
    try:
        if not torch.cuda.is_available():
            raise ImportError("no GPU")
        from unsloth import FastLanguageModel
        from unsloth import UnslothTrainingArguments as TrainingArguments

        ENGINE = "Unsloth"
    except (ImportError, NotImplementedError, RuntimeError) as error:
        ENGINE = f"Transformers (not Unsloth: {str(error).splitlines()[0]})"

import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, HfArgumentParser, PreTrainedTokenizerBase, Trainer

if ENGINE != "Unsloth":
    from transformers import TrainingArguments

warnings.filterwarnings("ignore", category=FutureWarning)  # what the libraries tell one another
transformers.utils.logging.disable_progress_bar()  # a log file is no terminal

# --- Arguments -------------------------------------------------------------------------------------------------------


# At most two checkpoints, one every 2,000 steps: a volume holds two of 3 GB through the night.
BOTH = {"save_total_limit": 2, "logging_steps": 10, "report_to": "none", "disable_tqdm": True,
        "use_cpu": not torch.accelerator.is_available(),  # told so, ranks on CPUs find one another
        "dataloader_pin_memory": torch.accelerator.is_available()}  # fmt: skip
REAL = {"output_dir": "runs/finetune", "save_steps": 2000}
TINY = {"output_dir": "runs/tiny", "save_steps": 100, "max_steps": 300, "per_device_train_batch_size": 8,
        "learning_rate": 2e-3, "block_size": 128, "lora_dropout": 0.05,
        "lora_whole": "embed_tokens,lm_head"}  # fmt: skip  # nobody has trained them before


def say(line: str) -> None:
    """One line, from one process."""
    if os.environ.get("RANK", "0") == "0":
        print(f"train: {line}")


def stop(message: str, code: int = 2) -> NoReturn:
    """One clear line, and the exit code of bin/train."""
    print(f"train: {message}", file=sys.stderr)
    sys.exit(code)


def load_yaml(path: str) -> dict[str, object]:
    """The settings in a YAML file."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            table = yaml.safe_load(file) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        stop(f"--config {path}: {' '.join(str(error).split())}")
    if not isinstance(table, dict):
        stop(f"--config {path}: is no table of settings such as `learning_rate: 1e-4`")
    return {str(key).replace("-", "_"): value for key, value in table.items() if value is not None}


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """` (did you mean NAME?)`, or nothing."""
    near = get_close_matches(typed, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def parse(argv: list[str]) -> tuple[Job, TrainingArguments]:
    """Given the command line, return the job and the TrainingArguments. Defaults < file < flags."""
    parser = HfArgumentParser((Job, TrainingArguments), description=__doc__, allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.error = lambda message: stop(f"{message}; see {CALLED} --help")
    typed, unknown = parser.parse_known_args(argv)
    names = vars(typed).keys()
    if unknown:
        near = did_you_mean(unknown[0].split("=")[0], [f"--{name.replace('_', '-')}" for name in names])
        stop(f"there is no setting {unknown[0]}{near}; see {CALLED} --help")
    table = load_yaml(typed.config) if typed.config else {}
    for key in table.keys() - names:
        stop(f"--config {typed.config}: there is no setting {key!r}{did_you_mean(key, names)}; see {CALLED} --help")
    own_model = typed.model or table.get("model")
    parser.set_defaults(**{**BOTH, **(REAL if own_model else TINY), **table})
    try:
        job, args = parser.parse_args_into_dataclasses(argv)
    except (ValueError, TypeError) as error:  # settings that contradict one another
        stop(str(error).splitlines()[0])
    if job.model and not job.data:
        stop("--model needs --data FILE.jsonl, FILE.txt or a data set's Hub id")
    if job.load_in_4bit and ENGINE != "Unsloth":
        stop(f"--load-in-4bit needs Unsloth; this is {ENGINE}")
    return job, args


# --- Data: rows, then blocks of tokens -------------------------------------------------------------------------------

Block = dict[str, torch.Tensor]  # of tokens: one training example
Row = tuple[str, object]  # where it stands, and {"text": ...} or {"messages": ...}


def documents(data: str) -> Iterator[Row]:
    """Given --data, yield each row with where it stands."""
    where = data
    try:
        if data.endswith(".jsonl"):
            with open(data, encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    where = f"{data} line {number}"
                    if line.strip():
                        yield where, json.loads(line)
        elif data.endswith(".txt") or os.path.exists(data):
            with open(data, encoding="utf-8") as file:
                yield data, {"text": file.read()}
        else:
            from datasets import load_dataset

            yield from ((f"{data} row {number}", row) for number, row in enumerate(load_dataset(data, split="train")))
    except ImportError:
        stop(f"--data {data}: no such file, and a data set of the Hub needs `pip install datasets`")
    except (OSError, ValueError) as error:
        stop(f"--data {where}: {str(error).splitlines()[0]}")


def standard_library() -> list[str]:
    """A megabyte of what every Python has: its own sources."""
    return sorted(glob.glob(os.path.join(sysconfig.get_paths()["stdlib"], "*.py")))[:40]


def text_of(where: str, row: object, tokenizer: PreTrainedTokenizerBase) -> str:
    """A row's text; of a conversation, what the tokenizer's own template makes of it."""
    table = row if isinstance(row, dict) else {}
    if isinstance(table.get("text"), str):
        return str(table["text"])
    if not isinstance(table.get("messages"), list):
        stop(f"--data {where}: has neither a `text` nor `messages`")
    try:
        return str(tokenizer.apply_chat_template(table["messages"], tokenize=False))
    except Exception as error:  # noqa: BLE001 - a template is a program, and each raises what it likes
        stop(f"--data {where}: the tokenizer's chat template refuses it: {error}")


def blocks(texts: Iterator[str], tokenizer: PreTrainedTokenizerBase, size: int) -> list[Block]:
    """Examples of `size` tokens, packed; what is left over at the end is dropped."""
    tokens = array("q")
    for text in texts:
        tokens.extend(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        tokens.extend([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])
    count = len(tokens) // size
    if not count:
        stop(f"--data has {len(tokens)} tokens, and one block takes {size}; see --block-size")
    packed = torch.frombuffer(tokens, dtype=torch.int64)[: count * size].view(count, size)
    return [{"input_ids": block, "labels": block} for block in packed]


# --- Model -----------------------------------------------------------------------------------------------------------


def tiny(directory: str, seed: int) -> str:
    """Make a byte-level Llama of 500,000 random weights in this directory if it is not there; return the directory."""
    transformers.set_seed(seed)
    shape = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    tokens = {"vocab_size": 384, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}  # ByT5's
    if not os.path.isdir(directory):
        draft = directory + ".part"  # until it is whole
        transformers.ByT5Tokenizer().save_pretrained(draft)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape, **tokens)).save_pretrained(draft)
        os.rename(draft, directory)
    return directory


def load(job: Job) -> tuple[torch.nn.Module, PreTrainedTokenizerBase]:
    """The model, with a LoRA adapter unless --lora-rank is 0, and its tokenizer."""
    targets: str | list[str] = job.lora_targets if job.lora_targets == "all-linear" else job.lora_targets.split(",")
    whole = job.lora_whole.split(",") if job.lora_whole else None
    lora: dict[str, Any] = {"r": job.lora_rank, "lora_alpha": job.lora_alpha, "lora_dropout": job.lora_dropout,
                            "target_modules": targets, "modules_to_save": whole}  # fmt: skip
    try:
        if ENGINE == "Unsloth":
            limits = {"max_seq_length": job.block_size, "load_in_4bit": job.load_in_4bit}
            model, tokenizer = FastLanguageModel.from_pretrained(job.model, **limits)
            return FastLanguageModel.get_peft_model(model, **lora) if job.lora_rank else model, tokenizer
        model, tokenizer = (kind.from_pretrained(job.model) for kind in (AutoModelForCausalLM, AutoTokenizer))
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora)) if job.lora_rank else model, tokenizer
    except (OSError, ValueError) as error:
        stop(f"--model {job.model}: {str(error).splitlines()[0]}")


# --- The training ----------------------------------------------------------------------------------------------------


def make_trainer(
    model: torch.nn.Module, args: TrainingArguments, tokenizer: PreTrainedTokenizerBase, samples: list[Block], held: int
) -> Trainer:
    """The Trainer, with the first `held` samples for evaluation."""
    collate = transformers.default_data_collator  # all are of one length: a tokenizer that can't pad will do
    try:
        trainer = Trainer(model, args, collate, samples[held:], samples[:held] or None, processing_class=tokenizer)
    except ValueError as error:
        stop(str(error))
    trainer.add_callback(StopAtTheEnd())
    return trainer


class NoStepLeftError(Exception):
    """The checkpoint that was loaded has all steps already; the Trainer would make one more."""


class StopAtTheEnd(transformers.TrainerCallback):
    """Raises NoStepLeftError where a finished run is called again."""

    def on_train_begin(self, _args: object, state: transformers.TrainerState, _control: object, **_: object) -> None:
        """The weights are loaded by now."""
        if state.global_step >= state.max_steps:
            raise NoStepLeftError


def try_resume(trainer: Trainer) -> bool:
    """Train from --resume-from-checkpoint or the newest intact one to the end; False if there is none."""
    try:
        trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint or True)
    except (ckptkit.NoSuchRun, ckptkit.NoIntactCheckpoint) as error:
        say(f"starting at step 0: {str(error).split(';')[0]}")
        return False
    except NoStepLeftError:
        done = trainer.state.max_steps
        say(f"all {done} steps are done; to go further: {CALLED} {further(sys.argv[1:], 2 * done)}")
    return True


def further(argv: list[str], steps: int) -> str:
    """The same flags with more steps, to paste."""
    at = argv.index("--max-steps") if "--max-steps" in argv else len(argv)
    return shlex.join([*argv[:at], "--max-steps", str(steps), *argv[at + 2 :]])


def main() -> None:
    """The whole story, top to bottom."""
    job, args = parse(["--help"] if "--help-all" in sys.argv else sys.argv[1:])
    if job.preflight_only:
        sys.exit(preflight(args))
    say(f"{ENGINE}; transformers {transformers.__version__}, torch {torch.__version__}, {args.device}")
    sources = [job.data] if job.data else standard_library()
    rows = [row for source in sources for row in documents(source)]  # a fault here is told before a model is loaded

    if not job.model:
        torch.set_num_threads(1)  # so few weights: two threads wait for each other longer than they compute
        with args.main_process_first():
            job.model = tiny(os.path.join(args.output_dir, "base"), args.seed)
    transformers.set_seed(args.seed)
    model, tokenizer = load(job)
    if args.gradient_checkpointing and job.lora_rank and ENGINE != "Unsloth":
        model.enable_input_require_grads()  # else no gradient gets below the first adapter
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(f"{job.model}: {trained:,} of {sum(p.numel() for p in model.parameters()):,} weights are trained")

    examples = blocks((text_of(where, row, tokenizer) for where, row in rows), tokenizer, job.block_size)
    say(f"{job.data or 'the standard library'}: {len(examples):,} blocks of {job.block_size} tokens")

    trainer = make_trainer(model, args, tokenizer, examples, job.eval_blocks)
    guard = ckptkit.guard(trainer, on_full=job.on_full, save_every=job.save_every or None)  # the one line
    if job.fresh or not try_resume(trainer):
        trainer.train()
    finish(trainer, guard.save_model, os.path.join(args.output_dir, "final"))


def preflight(args: TrainingArguments) -> int:
    """Say what speaks for a start and what against it; 4 if something does."""
    limit = args.save_total_limit
    rules = ckptkit.Rules(ckptkit.Range(limit, limit)) if limit else ckptkit.Rules()
    checks = ckptkit.preflight(args.output_dir, rules, settings=args.to_dict(), origin="of this command")
    for check in checks:
        fix = "" if check.state == "go" or not check.command else f"; fix: {check.command}"
        say(f"{check.state:<6} {check.message}{fix}")
    return 4 if any(check.state == "no-go" for check in checks) else 0


def finish(trainer: Trainer, save_model: Callable[[str], bool], final: str) -> None:
    """Write the model and say where it is; exit 1 if there was no room for it."""
    written = save_model(final)
    trainer.accelerator.end_training()  # ranks leave together: one that is gone already makes gloo abort the other
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    say(f"step {trainer.state.global_step}, loss {losses[0]:.3f} -> {losses[-1]:.3f}" if losses else "no loss yet")
    if not written:
        sys.exit(f"train: {final} could not be written: free some space, then run the same command again")
    say(f"the model is in {final}")


if __name__ == "__main__":
    try:
        main()
    except ckptkit.CkptkitError as fault:
        stop(str(fault), fault.exit_code)
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on from the newest intact checkpoint", 130)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # All is written. In the interpreter's own end torch's threads abort a rank now and then, 1 of 15 under load.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
