"""The Hugging Face Trainer: LoRA adapters, full models, sharded weights, save_only_model.

Names and order of writing: transformers `trainer.py::_save_checkpoint`, `trainer_pt_utils.py`, `utils/__init__.py`,
peft `utils/constants.py`, as run under transformers 4.57 and 5.17. `trainer_state.json` comes last; with several ranks
the others' `rng_state_N.pth` may come after it. On one rank the random states lie in `rng_state.pth`, on N in
`rng_state_0.pth` to `rng_state_<N-1>.pth`.
"""

from ckptkit.layouts.layout import Layout, Model
from ckptkit.model.checkpoint import SAVING

ADAPTER = Model(
    files=("adapter_model.safetensors", "adapter_model.bin"),
    beside=("adapter_config.json",),
    also=(),
    shards=r"adapter_model-([0-9]{5})-of-([0-9]{5})\.(?:safetensors|bin)",
    replaces=r"adapter_model(-[0-9]{5}-of-[0-9]{5})?\.(safetensors|bin)(\.index\.json)?",
)
FULL = Model(
    files=("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    beside=(),
    also=("config.json",),
    shards=r"(?:pytorch_)?model-([0-9]{5})-of-([0-9]{5})\.(?:safetensors|bin)",
    replaces=r"(pytorch_)?model(-[0-9]{5}-of-[0-9]{5})?\.(safetensors|bin)(\.index\.json)?",
)

# The same as one pattern, for who gathers them beside the shards that a resume takes.
GATHERED = (
    r"config\.json|adapter_config\.json|(adapter_)?model(-[0-9]{5}-of-[0-9]{5})?\.safetensors"
    r"|(adapter_)?model\.safetensors\.index\.json|(pytorch|adapter)_model(-[0-9]{5}-of-[0-9]{5})?\.bin"
)
TRAINERS = r"(optimizer|scheduler)\.pt|rng_state(_[0-9]+)?\.pth|training_args\.bin|trainer_state\.json"

LAYOUT = Layout(
    name="hf-trainer",
    # The Trainer writes no leading zeros; `checkpoint-07` was named by a person, so it stays a person's business.
    pattern=r"checkpoint-(0|[1-9][0-9]{0,17})",
    stem="checkpoint-",
    starts=("checkpoint-",),
    title="the Trainer",
    resume_with="--resume_from_checkpoint {path}",
    marker="trainer_state.json",
    state="trainer_state.json",
    # The second one is the Trainer's own, under `enable_jit_checkpoint`: nothing in transformers reads it.
    incomplete=(SAVING, "checkpoint-is-incomplete.txt"),
    models=(ADAPTER, FULL),
    # sentence-transformers' Router has one model for queries and one for documents, and none at the top.
    modules="modules.json",
    # `optimizer.bin` beside it is FSDP's or accelerate's own: no resume of a Trainer without FSDP reads it.
    resume=(("optimizer.pt",), ("scheduler.pt",), ("rng_state.pth",)),
    extras=("scaler.pt",),
    optional=(
        r"README\.md|training_args\.bin|generation_config\.json|chat_template\.jinja|tokenizer\.(json|model)"
        r"|(tokenizer|special_tokens|processor|preprocessor|video_preprocessor|feature_extractor)_(config|map)\.json"
        r"|added_tokens\.json|vocab\.(json|txt)|merges\.txt|spiece\.model|sentencepiece\.bpe\.model"
    ),
    settings=("training_args.bin",),
    # As the Trainer counts, without leading zeros: `rng_state_07.pth` is somebody's, and promises no eight ranks.
    ranks=r"rng_state_(0|[1-9][0-9]{0,5})\.pth",
    archives=(
        r"(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_[0-9]+)?\.pth|training_args\.bin"
        r"|(.*/)?(pytorch_model|adapter_model)(-[0-9]{5}-of-[0-9]{5})?\.bin"
    ),
    first=frozenset({"README.md", "config.json", "generation_config.json", "config_sentence_transformers.json"}),
    witness=r"rng_state(_(0|[1-9][0-9]{0,5}))?\.pth",
    trainers="TrainingArguments",
    foreign=("fsdp", "deepspeed"),
    others=(
        r"random_states_[0-9]+\.pkl|training_state(-.*)?\.(pt|pth|bin|json)|(.*/)?[^/]*\.distcp|global_step[0-9]+(/.*)?"
        r"|pytorch_model_fsdp.*|(optimizer|scheduler)\.bin|sampler(_[0-9]+)?\.bin|custom_checkpoint_[0-9]+\.pkl"
        r"|(bf16_)?zero_pp_rank_.*|mp_rank_.*|zero_to_.*\.py|optimizer\.pt_.*|.*\.ckpt"
    ),
    debris=r"\.tmp[A-Za-z0-9]{6}",
    order=(
        "config.json", "generation_config.json", *ADAPTER.files, *FULL.files, *ADAPTER.beside, "training_args.bin",
        "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "trainer_state.json",
    ),
)  # fmt: skip
