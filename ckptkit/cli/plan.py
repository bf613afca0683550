"""ckptkit plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptkit.calling import command
from ckptkit.cli import options as flags
from ckptkit.errors import UsageError
from ckptkit.ops import plan as planning
from ckptkit.render import plan

if TYPE_CHECKING:
    import argparse

    from ckptkit.cli.output import Output

EXAMPLES = """\
  {plan} --params 8B --lora-rank 64 --max-steps 28000 --save-steps 1000 --volume 100G --other 70G
  {plan} --model Qwen2.5-7B/ --full --dtype bf16 --optimizer paged_adamw_8bit --max-steps 10000
  {plan} --from RUN --max-steps 28000 --save-steps 1000        measure a real checkpoint"""


def parser(verb: str) -> flags.Parser:
    """The flags of the verb."""
    parser = flags.parser(
        verb,
        "Before a training starts, say whether its checkpoints will fit on the disk: the size of one, the most that "
        "is used with the guard and with the Trainer alone, the step at which the disk is full, and settings that "
        "fit. Changes nothing.",
        EXAMPLES,
        (0, 1, 2, 4, 5, 10),
    )
    _add_model(parser)
    _add_steps(parser)
    where = parser.add_argument_group("volume")
    where.add_argument("--volume", metavar="SIZE", help="its size (default: the volume of this directory)")
    where.add_argument("--other", metavar="SIZE", help="other data on it (default: what is there now; 0 with --volume)")
    where.add_argument(
        "--price-per-gb-hour", type=flags.seconds, default=0.003, metavar="DOLLARS", help="default 0.003"
    )
    where.add_argument(
        "--hours", type=flags.seconds, default=24.0, metavar="HOURS", help="how long you rent it (default 24)"
    )
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model (one of the three)").add_mutually_exclusive_group(required=True)
    model.add_argument("--model", metavar="PATH", help="its directory, config.json, index, or .safetensors file")
    model.add_argument("--params", metavar="8B", help="only a number of parameters: gives approximate sizes")
    model.add_argument("--from", dest="run", metavar="RUN", help="measure the newest intact checkpoint of this run")
    how = parser.add_argument_group("training")
    how.add_argument("--lora-rank", type=positive, metavar="R", help="rank of the LoRA (default 16)")
    how.add_argument(
        "--targets", default="all-linear", metavar="NAMES", help="modules that the LoRA adapts (default all-linear)"
    )
    how.add_argument("--whole", default="", metavar="NAMES", help="modules_to_save: trained and saved whole")
    how.add_argument("--full", action="store_true", help="train all weights")
    how.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="type of the weights (default: the model's own)")
    how.add_argument("--optimizer", default="adamw", metavar="NAME", help="as in TrainingArguments(optim=...)")
    how.add_argument(
        "--gpus", type=positive, default=1, metavar="N", help="number of processes, one per GPU (default 1)"
    )


def _add_steps(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_argument_group("steps")
    steps.add_argument("--max-steps", type=positive, required=True, metavar="N", help="number of training steps")
    steps.add_argument("--save-steps", type=positive, default=500, metavar="N", help="save every N steps (default 500)")
    steps.add_argument(
        "--save-total-limit", type=positive, default=2, metavar="N", help="checkpoints to keep (default 2)"
    )
    steps.add_argument("--logging-steps", type=positive, default=10, metavar="N", help="log every N steps (default 10)")


def positive(text: str) -> int:
    """Return the whole number, 1 or more. Raises ValueError."""
    value = int(text)
    if not 1 <= value < 10**12:
        raise ValueError
    return value


def run(options: argparse.Namespace, output: Output) -> int:
    """Print whether it fits; exit 5 if it does not, not even with the guard."""
    steps = planning.Steps(options.max_steps, options.save_steps, options.save_total_limit, options.logging_steps)
    parts = _parts(options, steps)
    size, other = (planning.typed_size(flag, getattr(options, flag)) for flag in ("volume", "other"))
    training_plan = planning.size_up(parts, planning.volume_at(options.run or ".", size, other, options.run), steps)
    price = plan.Price(options.price_per_gb_hour, options.hours)
    fits = training_plan.asked.guard.fits
    (output.routine if fits else output.result)(plan.sizing(training_plan, steps.max_steps, price))
    output.document(plan.document(training_plan, steps.max_steps, price))
    return 0 if fits else 5


def _parts(options: argparse.Namespace, steps: planning.Steps) -> planning.CheckpointBytes:
    if options.full and options.lora_rank:
        raise UsageError(f"--full and --lora-rank can't be combined; see {command('plan', '--help')}")
    if options.run:
        return planning.measured(options.run)
    how = planning.how(
        None if options.full else options.lora_rank or 16,
        options.targets,
        options.whole,
        options.optimizer,
        options.gpus,
    )
    return planning.predicted(options.model, options.params, options.dtype, how, steps)
