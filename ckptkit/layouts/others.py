"""What is listed and sized, and nobody here can judge: Megatron, orbax, verl, DeepSpeed without a Trainer, loose files.

Names: megatron-core 0.16 `dist_checkpointing`, orbax 0.12 `CheckpointManager`, verl 0.9 `utils/checkpoint`. All of them
are `unknown`: never counted, never deleted, but by `ckptkit discard` of one that is named in full.
"""

from ckptkit.layouts.layout import Layout

UNJUDGED = Layout(name="", title="", pattern="", stem="", clear=False, judged=False)
# The word before the number makes it one of several: model.pt, training_args.bin and optimizer.pt are no checkpoints.
COUNTED = (
    r"(?:.*[-_.])?(?:steps?|epoch|ep|iter|iteration|ckpt|checkpoint|model)[-_=]?([0-9]{1,18})"
    r"(?:[-_.][^/]*)?"
)

LAYOUTS = (
    UNJUDGED._replace(
        name="megatron", title="Megatron", pattern=r"iter_([0-9]{7})", starts=("iter_",),
        signs=((r"common\.pt",), (r"metadata\.json",), (r"mp_rank_.*",)),
    ),
    UNJUDGED._replace(
        name="orbax", title="orbax", pattern=r"([0-9]{1,18})(?:\.orbax-checkpoint-tmp)?", starts=tuple("0123456789"),
        signs=((r"_CHECKPOINT_METADATA",), (r"commit_success\.txt",)),
    ),
    UNJUDGED._replace(
        name="verl", title="verl", pattern=r"global_step_([0-9]{1,18})", starts=("global_step_",),
        signs=((r"(actor|critic)(/.*)?",),),
    ),
    UNJUDGED._replace(
        name="deepspeed-engine", title="DeepSpeed without a Trainer", pattern=r"global_step([0-9]{1,18})",
        starts=("global_step",), signs=((r".*_states\.pt",),),
    ),
    UNJUDGED._replace(
        name="torch-file", title="a file of torch.save", pattern=COUNTED + r"\.(?:pt|pth|th|tar)",
        ends=(".pt", ".pth", ".th", ".tar"), clear=True, single=True,
    ),
)  # fmt: skip
