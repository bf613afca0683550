"""What is saved: families, sizes, LoRA or full, dtypes, optimizers, shards. Each differs in one thing or two."""

from collections.abc import Mapping
from typing import Any, NamedTuple

TINY = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SMALL = {"vocab_size": 2000, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4}
MEDIUM = {"vocab_size": 8000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
GEMMA = HEADS | {"head_dim": 32}
GPT2 = {"vocab_size": 2000, "n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 256}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "head_dim": 32}
MIXTRAL = {"num_local_experts": 4, "num_experts_per_tok": 2}


class Kind(NamedTuple):
    """One save. rank 0: the full model. shard: bytes a shard, 0: one file."""

    family: str = "llama"
    config: Mapping[str, Any] = SMALL | HEADS
    rank: int = 0
    targets: str = "all-linear"
    whole: str = ""
    dtype: str = "fp32"
    optimizer: str = "adamw_torch"
    shard: int = 0
    only_model: bool = False
    tokenizer: bool = False
    log_lines: int = 2


KINDS = {
    "tiny": Kind(config=TINY | HEADS),
    "small": Kind(),
    "medium": Kind(config=MEDIUM | HEADS),
    "tied": Kind(config=SMALL | HEADS | {"tie_word_embeddings": True}),
    "bf16": Kind(dtype="bf16"),
    "fp16": Kind(dtype="fp16"),
    "adafactor": Kind(optimizer="adafactor"),
    "adafactor bf16": Kind(optimizer="adafactor", dtype="bf16"),
    "sgd": Kind(optimizer="sgd"),
    "sgd momentum": Kind(optimizer="sgd_momentum"),
    "sgd momentum bf16": Kind(optimizer="sgd_momentum", dtype="bf16"),
    "sharded": Kind(shard=500_000),
    "sharded bf16 medium": Kind(config=MEDIUM | HEADS, shard=5_000_000, dtype="bf16"),
    "weights only": Kind(only_model=True),
    "tokenizer": Kind(tokenizer=True),
    "100 log lines": Kind(log_lines=100),
    "lora tiny": Kind(config=TINY | HEADS, rank=8),
    "lora r8": Kind(rank=8),
    "lora r64": Kind(rank=64),
    "lora r16 medium": Kind(config=MEDIUM | HEADS, rank=16),
    "lora q,v": Kind(rank=16, targets="q_proj,v_proj"),
    "lora bf16 base": Kind(rank=16, dtype="bf16"),
    "lora + whole head": Kind(rank=16, whole="lm_head"),
    "lora on embeddings": Kind(rank=16, targets="q_proj,embed_tokens"),
    "lora on the head": Kind(rank=16, targets="q_proj,lm_head"),
    "lora adafactor": Kind(rank=16, optimizer="adafactor"),
    "lora sgd": Kind(rank=16, optimizer="sgd"),
    "mistral": Kind("mistral"),
    "qwen2": Kind("qwen2"),
    "qwen3": Kind("qwen3", SMALL | GEMMA),
    "qwen3 lora": Kind("qwen3", SMALL | GEMMA, rank=16),
    "gemma": Kind("gemma", SMALL | GEMMA),
    "gemma2": Kind("gemma2", SMALL | GEMMA),
    "gemma3": Kind("gemma3_text", SMALL | GEMMA),
    "phi": Kind("phi", SMALL | HEADS),
    "phi3": Kind("phi3", SMALL | HEADS | {"pad_token_id": 0}),
    "gpt2": Kind("gpt2", GPT2),
    "gpt2 lora": Kind("gpt2", GPT2, rank=16),
    "gpt_neox": Kind("gpt_neox", SMALL | {"num_attention_heads": 4}),
    "gpt_neox lora": Kind("gpt_neox", SMALL | {"num_attention_heads": 4}, rank=16),
    "mixtral": Kind("mixtral", SMALL | HEADS | MIXTRAL),
    "mixtral lora": Kind("mixtral", SMALL | HEADS | MIXTRAL, rank=16),
    "qwen2_moe": Kind("qwen2_moe", SMALL | HEADS | EXPERTS | {"shared_expert_intermediate_size": 96}),
    "qwen2_moe lora": Kind("qwen2_moe", SMALL | HEADS | EXPERTS | {"shared_expert_intermediate_size": 96}, rank=16),
    "qwen3_moe": Kind("qwen3_moe", SMALL | HEADS | EXPERTS),
    "qwen3_moe lora": Kind("qwen3_moe", SMALL | HEADS | EXPERTS, rank=16),
    "adamw 8bit": Kind(optimizer="adamw_bnb_8bit"),
    "adamw 8bit medium": Kind(config=MEDIUM | HEADS, optimizer="adamw_bnb_8bit"),
    "paged adamw 8bit bf16": Kind(optimizer="paged_adamw_8bit", dtype="bf16"),
    "paged adamw 32bit bf16": Kind(optimizer="paged_adamw_32bit", dtype="bf16"),
    "lion": Kind(optimizer="lion_32bit"),
    "lion 8bit": Kind(optimizer="lion_8bit"),
    "lora adamw 8bit": Kind(rank=64, optimizer="adamw_bnb_8bit"),
    "lora lion 8bit": Kind(rank=64, optimizer="lion_8bit"),
}
