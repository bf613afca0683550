"""What a save will write, measured in memory: the first save is admitted before any checkpoint exists.

Any of these may raise whatever the model, the optimizer or the tokenizer of a person raises.
"""

from typing import Any


def weights_bytes(model: Any) -> int:
    """Given the model as the Trainer holds it, return the bytes of the tensors that `save_model` writes."""
    model = getattr(model, "module", model)
    if hasattr(model, "peft_config"):
        return trained_bytes(model) + _embedding_bytes(model)
    return _unique_bytes(model.state_dict().values())


def trained_bytes(model: Any) -> int:
    """Bytes of the tensors that are trained: a Trainer that writes in a way of its own writes hardly less."""
    return _unique_bytes(p for p in model.parameters() if p.requires_grad)


def optimizer_bytes(optimizer: Any, model: Any, has_stepped: bool = False) -> int:
    """Given the optimizer, return the bytes of its state; before its first step, what AdamW in fp32 will hold.

    has_stepped: a state that is empty all the same is one (SGD without momentum).
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    state = getattr(inner, "state", None)
    if state or (has_stepped and state is not None):
        slots = [slot for slot in state.values() if hasattr(slot, "values")]
        return _unique_bytes(value for slot in slots for value in slot.values())
    return sum(2 * 4 * p.numel() for p in model.parameters() if p.requires_grad)


def tokenizer_bytes(processing_class: Any) -> int:
    """Given the Trainer's tokenizer or processor, return about what its files take: tokenizer.json."""
    backend = getattr(getattr(processing_class, "tokenizer", processing_class), "backend_tokenizer", None)
    return len(backend.to_str().encode()) if backend is not None else 0


def _unique_bytes(tensors: Any) -> int:
    """Tied weights are stored once."""
    sizes = {t.data_ptr(): t.numel() * t.element_size() for t in tensors if hasattr(t, "element_size") and t.numel()}
    return sum(sizes.values())


def _embedding_bytes(model: Any) -> int:
    """peft writes the base embeddings too where an adapter targets them (`get_peft_model_state_dict`, "auto")."""
    configs = model.peft_config.values()
    targets = {name for config in configs for name in getattr(config, "target_modules", None) or ()}
    if not targets & {"embed_tokens", "lm_head", "wte", "embeddings"}:
        return 0
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return _unique_bytes(layer.weight for layer in layers if hasattr(layer, "weight"))
