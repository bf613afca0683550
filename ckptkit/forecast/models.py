"""PURE: a model as shapes: from its config.json, or guessed from a number of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import log, prod
from typing import Any, NamedTuple

from ckptkit.errors import UsageError

ITEM_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}

SAFETENSORS_DTYPES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}

DTYPES = {long: short for short, long in SAFETENSORS_DTYPES.items()} | {
    "float32": "fp32", "bfloat16": "bf16", "float16": "fp16",
}  # fmt: skip

EMBEDDINGS = ("embed_tokens", "wte", "wpe", "embed_in")

HEADS = ("lm_head", "embed_out")


class Shape(NamedTuple):
    """One parameter. kind: linear, experts, embedding, head, or other; parts: tensors that it is saved as."""

    name: str
    size: tuple[int, ...]
    dtype: str = "fp32"
    kind: str = "other"
    parts: int = 1

    @property
    def numel(self) -> int:
        """How many numbers it has."""
        return prod(self.size)

    @property
    def bytes(self) -> int:
        """Bytes that it takes, in its dtype."""
        return self.numel * ITEM_BYTES[self.dtype]

    @property
    def module(self) -> str:
        """The dotted path of the module that holds it."""
        return self.name.rpartition(".")[0]


def kind_of(name: str, size: tuple[int, ...]) -> str:
    """Given a parameter's name and shape as a file has them, return what it is, as LoRA and optimizers see it."""
    module, _, leaf = name.rpartition(".")
    last = module.rpartition(".")[2]
    if leaf != "weight" or len(size) != 2:
        return "other"
    if last in EMBEDDINGS:
        return "embedding"
    return "head" if last in HEADS else "linear"


def parameters(shapes: tuple[Shape, ...]) -> int:
    """Given a model's shapes, return how many numbers it has."""
    return sum(shape.numel for shape in shapes)


Config = Mapping[str, Any]


class Traits(NamedTuple):
    """In what a family differs from Llama. norms: of the hidden size, a layer."""

    qkv_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    tied: bool = False
    fused: bool = False


TRAITS = {
    "llama": Traits(),
    "mistral": Traits(),
    "mixtral": Traits(),
    "qwen2": Traits(qkv_bias=True),
    "qwen2_moe": Traits(qkv_bias=True),
    "qwen3": Traits(qk_norm=True),
    "qwen3_moe": Traits(qk_norm=True),
    "gemma": Traits(tied=True),
    "gemma2": Traits(norms=4, tied=True),
    "gemma3_text": Traits(qk_norm=True, norms=4, tied=True),
    "phi3": Traits(fused=True),
}

NORMS = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")


def shapes(config: Config, dtype: str) -> tuple[Shape, ...]:
    """Given a parsed config.json, return the parameters, stored in `dtype`. Raises UsageError for other families."""
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        message = f"the shapes of a model of type {family!r} are not known here (known: {known})"
        raise UsageError(f"{message}; give its directory with the .safetensors files, or --params")
    try:
        return tuple(shape._replace(dtype=dtype) for shape in FAMILIES[family](config))
    except (KeyError, TypeError, ZeroDivisionError, ValueError) as error:
        raise UsageError(f"config.json of type {family!r} lacks or garbles {error}") from None


# --- Llama and its kin ----------------------------------------------------------------------------------------------
def _llama(config: Config) -> Iterator[Shape]:
    traits = TRAITS[config["model_type"]]
    hidden, words = config["hidden_size"], config["vocab_size"]
    yield Shape("model.embed_tokens.weight", (words, hidden), kind="embedding")
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        yield from _attention(config, traits, layer)
        yield from _mlp(config, traits, layer, index)
        yield from (Shape(f"{layer}.{norm}.weight", (hidden,)) for norm in NORMS[: traits.norms])
    yield Shape("model.norm.weight", (hidden,))
    if not config.get("tie_word_embeddings", traits.tied):
        yield Shape("lm_head.weight", (words, hidden), kind="head")


def _attention(config: Config, traits: Traits, layer: str) -> Iterator[Shape]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    each = config.get("head_dim") or hidden // heads
    query, key = heads * each, (config.get("num_key_value_heads") or heads) * each
    bias = bool(config.get("attention_bias"))
    at = f"{layer}.self_attn"
    if traits.fused:
        yield from _linear(f"{at}.qkv_proj", query + 2 * key, hidden, bias)
    else:
        for name, out in (("q_proj", query), ("k_proj", key), ("v_proj", key)):
            yield from _linear(f"{at}.{name}", out, hidden, traits.qkv_bias or bias)
    yield from _linear(f"{at}.o_proj", hidden, query, bias)
    if traits.qk_norm:
        yield from (Shape(f"{at}.{name}.weight", (each,)) for name in ("q_norm", "k_norm"))


def _mlp(config: Config, traits: Traits, layer: str, index: int) -> Iterator[Shape]:
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    dense = index in (config.get("mlp_only_layers") or ()) or (index + 1) % (config.get("decoder_sparse_step") or 1)
    if experts and not dense:
        yield from _experts(config, f"{layer}.mlp", experts)
    else:
        yield from _gated(config, traits, f"{layer}.mlp", config["intermediate_size"])


def _gated(config: Config, traits: Traits, at: str, inner: int) -> Iterator[Shape]:
    hidden, bias = config["hidden_size"], bool(config.get("mlp_bias"))
    if traits.fused:
        yield from _linear(f"{at}.gate_up_proj", 2 * inner, hidden, bias)
    else:
        yield from _linear(f"{at}.gate_proj", inner, hidden, bias)
        yield from _linear(f"{at}.up_proj", inner, hidden, bias)
    yield from _linear(f"{at}.down_proj", hidden, inner, bias)


def _experts(config: Config, at: str, experts: int) -> Iterator[Shape]:
    """One tensor for all experts in memory (transformers 5), one an expert in the file."""
    hidden = config["hidden_size"]
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    # transformers hands peft's all-linear on to the router and experts of Mixtral and Qwen3, not of Qwen2.
    router, kind = ("other", "other") if config["model_type"] == "qwen2_moe" else ("linear", "experts")
    yield Shape(f"{at}.gate.weight", (experts, hidden), kind=router)
    yield Shape(f"{at}.experts.gate_up_proj", (experts, 2 * inner, hidden), kind=kind, parts=2 * experts)
    yield Shape(f"{at}.experts.down_proj", (experts, hidden, inner), kind=kind, parts=experts)
    if shared := config.get("shared_expert_intermediate_size"):
        yield from _gated(config, Traits(), f"{at}.shared_expert", shared)
        yield from _linear(f"{at}.shared_expert_gate", 1, hidden, False)


# --- Phi, GPT-2, GPT-NeoX -------------------------------------------------------------------------------------------
def _phi(config: Config) -> Iterator[Shape]:
    hidden, words = config["hidden_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    key = hidden // heads * (config.get("num_key_value_heads") or heads)
    yield Shape("model.embed_tokens.weight", (words, hidden), kind="embedding")
    for index in range(config["num_hidden_layers"]):
        at = f"model.layers.{index}"
        for name, out in (("q_proj", hidden), ("k_proj", key), ("v_proj", key), ("dense", hidden)):
            yield from _linear(f"{at}.self_attn.{name}", out, hidden)
        yield from _linear(f"{at}.mlp.fc1", config["intermediate_size"], hidden)
        yield from _linear(f"{at}.mlp.fc2", hidden, config["intermediate_size"])
        yield from _norm(f"{at}.input_layernorm", hidden)
    yield from _norm("model.final_layernorm", hidden)
    yield from (s._replace(kind="head" if len(s.size) == 2 else "other") for s in _linear("lm_head", words, hidden))


def _gpt2(config: Config) -> Iterator[Shape]:
    hidden = config["n_embd"]
    inner = config.get("n_inner") or 4 * hidden
    yield Shape("transformer.wte.weight", (config["vocab_size"], hidden), kind="embedding")
    yield Shape("transformer.wpe.weight", (config["n_positions"], hidden), kind="embedding")
    for index in range(config["n_layer"]):
        at = f"transformer.h.{index}"
        yield from _norm(f"{at}.ln_1", hidden)
        yield from _linear(f"{at}.attn.c_attn", hidden, 3 * hidden, bias=3 * hidden)
        yield from _linear(f"{at}.attn.c_proj", hidden, hidden)
        yield from _norm(f"{at}.ln_2", hidden)
        yield from _linear(f"{at}.mlp.c_fc", hidden, inner, bias=inner)
        yield from _linear(f"{at}.mlp.c_proj", inner, hidden, bias=hidden)
    yield from _norm("transformer.ln_f", hidden)
    if not config.get("tie_word_embeddings", True):
        yield Shape("lm_head.weight", (config["vocab_size"], hidden), kind="head")


def _gpt_neox(config: Config) -> Iterator[Shape]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    yield Shape("gpt_neox.embed_in.weight", (config["vocab_size"], hidden), kind="embedding")
    for index in range(config["num_hidden_layers"]):
        at = f"gpt_neox.layers.{index}"
        yield from _norm(f"{at}.input_layernorm", hidden)
        yield from _norm(f"{at}.post_attention_layernorm", hidden)
        yield from _linear(f"{at}.attention.query_key_value", 3 * hidden, hidden, config.get("attention_bias", True))
        yield from _linear(f"{at}.attention.dense", hidden, hidden, config.get("attention_bias", True))
        yield from _linear(f"{at}.mlp.dense_h_to_4h", inner, hidden)
        yield from _linear(f"{at}.mlp.dense_4h_to_h", hidden, inner)
    yield from _norm("gpt_neox.final_layer_norm", hidden)
    if not config.get("tie_word_embeddings", False):
        yield Shape("embed_out.weight", (config["vocab_size"], hidden), kind="head")


def _linear(name: str, rows: int, columns: int, bias: int | bool = True) -> Iterator[Shape]:
    """A weight and its bias: as long as the rows, or of the length given (GPT-2 keeps its weights transposed)."""
    yield Shape(f"{name}.weight", (rows, columns), kind="linear")
    if bias:
        yield Shape(f"{name}.bias", (rows if bias is True else bias,))


def _norm(name: str, hidden: int) -> Iterator[Shape]:
    yield Shape(f"{name}.weight", (hidden,))
    yield Shape(f"{name}.bias", (hidden,))


FAMILIES: dict[str, Callable[[Config], Iterator[Shape]]] = {
    **dict.fromkeys(TRAITS, _llama),
    "phi": _phi,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
}

# hidden, intermediate, layers, heads, key-value heads, words, tied: Qwen2.5 0.5B; Llama 3.2 1B and 3B, 3.1 8B;
# Qwen2.5 14B and 32B; Llama 3.1 70B and 405B, as published.
KNOWN = (
    (896, 4864, 24, 14, 2, 151936, True),
    (2048, 8192, 16, 32, 8, 128256, True),
    (3072, 8192, 28, 24, 8, 128256, True),
    (4096, 14336, 32, 32, 8, 128256, False),
    (5120, 13824, 48, 40, 8, 152064, False),
    (5120, 27648, 64, 40, 8, 152064, False),
    (8192, 28672, 80, 64, 8, 128256, False),
    (16384, 53248, 126, 128, 8, 128256, False),
)


def guessed_shapes(count: int, dtype: str) -> tuple[Shape, ...]:
    """Given a number of parameters, return the shapes of a Llama-like model of about that many.

    The geometry is that of the nearest known one, with as many layers as bring the count nearest.
    """
    config = min((_config(*known) for known in KNOWN), key=lambda c: _distance(c, count))
    outside = _count(config, 0)
    layer = _count(config, 1) - outside
    layers = max(1, round((count - outside) / layer))
    return shapes({**config, "num_hidden_layers": layers}, dtype)


def _distance(config: Config, count: int) -> float:
    return abs(log(_count(config, config["num_hidden_layers"]) / count))


def _count(config: Config, layers: int) -> int:
    return parameters(shapes({**config, "num_hidden_layers": layers}, "bf16"))


def _config(hidden: int, inner: int, layers: int, heads: int, keys: int, words: int, tied: bool) -> Config:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": words,
        "tie_word_embeddings": tied,
    }
