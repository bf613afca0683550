"""What a save will write, measured in memory: the first save is admitted before any checkpoint exists.

Any of these may raise whatever the model, the optimizer or the tokenizer of a person raises. None of them gathers
anything: where FSDP or ZeRO spread a model over ranks, each rank knows the whole sizes of its parameters, and one of
them asks alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ckptkit.guard.trainer_like import AdaptedModelLike, ModelLike, TrainerLike

ADAM_BYTES = 2 * 4  # its two moments in fp32, for each parameter that is trained
MASTER_BYTES = 4  # DeepSpeed saves an fp32 copy of each as well


def weights_bytes(model: ModelLike) -> int:
    """Given the model as the Trainer holds it, return the bytes of the tensors that `save_model` writes."""
    inner: ModelLike = getattr(model, "module", model)
    if _is_adapted(inner):
        return trained_bytes(inner) + _embedding_bytes(inner)
    return whole_bytes(inner) if _is_spread(inner) else _unique_bytes(inner.state_dict().values())


def trained_bytes(model: ModelLike) -> int:
    """Bytes of the tensors that are trained: a Trainer that writes in a way of its own writes hardly less."""
    return _unique_bytes(p for p in model.parameters() if p.requires_grad)


def whole_bytes(model: ModelLike) -> int:
    """Bytes of all its parameters and buffers, trained or not, on however many ranks they lie."""
    return _unique_bytes([*model.parameters(), *model.buffers()])


def optimizer_bytes(optimizer: object, model: ModelLike, has_stepped: bool = False) -> int:
    """Given the optimizer, return the bytes of its state; before its first step, what AdamW in fp32 will hold.

    has_stepped: a state that is empty all the same is one (SGD without momentum). FSDP1 and ZeRO tell of this rank's
    part alone: so many at least.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    state = getattr(inner, "state", None)
    if state or (has_stepped and state is not None):
        slots = [slot for slot in state.values() if hasattr(slot, "values")]
        return _unique_bytes(value for slot in slots for value in slot.values())
    return ADAM_BYTES * _trained(model)


def sharded_bytes(trainer: TrainerLike) -> int:
    """What FSDP or DeepSpeed write beside the model and the optimizer's own state, 0 for neither."""
    if getattr(trainer, "is_deepspeed_enabled", False):
        return trained_bytes(trainer.model) + MASTER_BYTES * _trained(trainer.model)
    if getattr(trainer, "is_fsdp_enabled", False):
        return whole_bytes(trainer.model) if saves_model_alone(trainer) else 0
    return 0


def saves_model_alone(trainer: TrainerLike) -> bool:
    """Whether `save_model` writes weights that can be loaded: with sharded ones, FSDP and ZeRO-3 write none there."""
    if getattr(trainer, "is_deepspeed_enabled", False):
        zero = trainer.accelerator.state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        return zero.get("stage") != 3 or bool(zero.get("stage3_gather_16bit_weights_on_model_save"))
    if getattr(trainer, "is_fsdp_enabled", False):
        return "FULL_STATE_DICT" in str(trainer.accelerator.state.fsdp_plugin.state_dict_type)
    return True


def tokenizer_bytes(processing_class: object) -> int:
    """Given the Trainer's tokenizer or processor, return about what its files take: tokenizer.json."""
    backend = getattr(getattr(processing_class, "tokenizer", processing_class), "backend_tokenizer", None)
    return len(backend.to_str().encode()) if backend is not None else 0


def _is_adapted(model: ModelLike) -> TypeGuard[AdaptedModelLike]:
    return hasattr(model, "peft_config")


def _is_spread(model: ModelLike) -> bool:
    """Whether a rank holds a part of its parameters alone: FSDP2, FSDP1, ZeRO-3. Its state_dict() may gather then."""
    marks = ("_local_tensor", "_unpadded_unsharded_size", "ds_numel")
    return any(hasattr(p, mark) for p in model.parameters() for mark in marks)


def _trained(model: ModelLike) -> int:
    return sum(_elements(p) for p in model.parameters() if p.requires_grad)


def _elements(tensor: Tensor) -> int:
    """Of the whole one: FSDP1's flat parameter and ZeRO-3's partitioned one know what they are a part of."""
    whole = getattr(tensor, "_unpadded_unsharded_size", None)
    return int(whole.numel() if whole is not None else getattr(tensor, "ds_numel", tensor.numel()))


def _unique_bytes(tensors: Iterable[Tensor]) -> int:
    """Tied weights are stored once."""
    sizes = {_place(t): _elements(t) * t.element_size() for t in tensors if hasattr(t, "element_size")}
    return sum(sizes.values())


def _place(tensor: Tensor) -> int:
    """What two tensors have in common that are one; one that holds nothing here is one with itself alone."""
    place: int = getattr(tensor, "_local_tensor", tensor).data_ptr()
    return place or id(tensor)


def _embedding_bytes(model: AdaptedModelLike) -> int:
    """peft writes the base embeddings too where an adapter targets them (`get_peft_model_state_dict`, "auto")."""
    configs = model.peft_config.values()
    targets = {name for config in configs for name in getattr(config, "target_modules", None) or ()}
    if not targets & {"embed_tokens", "lm_head", "wte", "embeddings"}:
        return 0
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return _unique_bytes(layer.weight for layer in layers if hasattr(layer, "weight"))
