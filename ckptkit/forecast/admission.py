"""What the guard asks for before a save, with a margin: too much costs a checkpoint sooner, too little a save."""

# What a save writes beside tensors and tokenizer: scheduler, RNG state, training_args, trainer_state, configuration,
# and each file's last block. Seen: 40 to 120 KB with transformers 5.17.
SMALL_FILES_BYTES = 256 << 10
# trainer_state.json grows by the log lines since the last save, and zip and safetensors headers round up.
GROWTH = 1.02


def first_save_bytes(weights: int, optimizer: int, tokenizer: int) -> int:
    """Given the bytes of the tensors and files that the first save will write, return the bytes it needs on disk."""
    return int((weights + optimizer + tokenizer) * GROWTH) + SMALL_FILES_BYTES


def next_save_bytes(last: int) -> int:
    """Given the bytes that this training's last save took, return the bytes that the next one needs."""
    return int(last * GROWTH) + SMALL_FILES_BYTES
