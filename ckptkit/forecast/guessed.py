"""Shapes for a model of which only the number of parameters is known, such as 8B: an approximation, and said so."""

from __future__ import annotations

from math import log

from ckptkit.forecast import families
from ckptkit.forecast.shapes import Shape, parameters

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
    return families.shapes({**config, "num_hidden_layers": layers}, dtype)


def _distance(config: families.Config, count: int) -> float:
    return abs(log(_count(config, config["num_hidden_layers"]) / count))


def _count(config: families.Config, layers: int) -> int:
    return parameters(families.shapes({**config, "num_hidden_layers": layers}, "bf16"))


def _config(hidden: int, inner: int, layers: int, heads: int, keys: int, words: int, tied: bool) -> families.Config:
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
