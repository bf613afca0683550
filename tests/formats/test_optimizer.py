"""optimizer.pt against weights: real pairs agree, another rank's or model's optimizer does not, doubt says nothing."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ckptkit.formats.optimizer import OptimizerFacts, faults, states
from ckptkit.formats.pickles import scan
from tests.support.typed import present


def read(file: io.BytesIO | Path) -> OptimizerFacts | None:
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        return states(scan(archive.read(name)).value)


def shapes(directory: Path) -> list[tuple[Any, ...]]:
    from safetensors import safe_open

    found = []
    for file in Path(directory).glob("*.safetensors"):
        with safe_open(file, "np") as tensors:
            found += [tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()]  # noqa: SIM118
    return found


def trained(model: Any, make: Any, **options: Any) -> OptimizerFacts | None:
    """An optimizer of a model's trainable parameters after one real step, as it is read from its file."""
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = make(parameters, **options)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    return read(file)


def llama(width: int = 32, rank: int = 0, **options: Any) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"vocab_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(hidden_size=width, **shape, **options))
    return get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear")) if rank else model


def trainable(model: Any) -> list[tuple[Any, ...]]:
    return [tuple(p.shape) for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("kind", ["lora", "full", "sharded", "bf16"])
def test_real_checkpoint_agrees_with_its_weights(real: str, kind: str) -> None:
    directory = Path(real, kind, "checkpoint-100")
    optimizer, weights = present(read(directory / "optimizer.pt")), shapes(directory)
    assert optimizer.parameters == len(optimizer.states) == len(weights) and faults(optimizer, weights) == []
    assert sorted(present(state["exp_avg"]) for state in optimizer.states.values()) == sorted(weights)


MAKES: dict[str, dict[str, Any]] = {
    "AdamW": {},
    "SGD": {"momentum": 0.9},
    "RMSprop": {},
    "Adam": {"amsgrad": True},
    "NAdam": {},
    "Muon": {},
}


@pytest.mark.parametrize("name", MAKES)
def test_optimizer_of_its_own_weights_agrees_and_of_another_rank_does_not(name: str) -> None:
    import torch

    make, model = getattr(torch.optim, name), llama(rank=4)
    optimizer = present(trained(model, make, lr=0.1, **MAKES[name]))
    assert faults(optimizer, trainable(model)) == []
    plain = name != "NAdam"  # has a state of its own, so it is passed over
    found = [code for code, _ in faults(optimizer, trainable(llama(rank=8)))]
    assert found == (["optimizer-mismatch"] if plain else [])


def test_optimizer_of_another_width_does_not_agree() -> None:
    import torch

    optimizer = present(trained(llama(width=32), torch.optim.AdamW))
    found = faults(optimizer, trainable(llama(width=64)))
    assert [code for code, _ in found] == ["optimizer-mismatch"] and "12 of 12 states" in found[0][1]


def test_factored_states_and_no_states_are_passed_over() -> None:
    import torch

    for make, options in ((torch.optim.Adafactor, {}), (torch.optim.SGD, {"lr": 0.1}), (torch.optim.Adagrad, {})):
        assert faults(present(trained(llama(width=32), make, **options)), trainable(llama(width=64))) == []


def test_another_count_says_nothing() -> None:
    """Frozen weights, tied weights, parameters that had no gradient, tensors saved along."""
    import torch

    frozen = llama()
    frozen.model.requires_grad_(False)
    tied = llama(tie_word_embeddings=True)
    for model in (frozen, tied):
        optimizer = present(trained(model, torch.optim.AdamW))
        in_file = [tuple(t.shape) for t in model.state_dict().values()]
        assert optimizer.parameters < len(in_file) and faults(optimizer, in_file) == []


def test_parameter_without_a_gradient_has_no_state_and_is_no_fault() -> None:
    import torch

    model = llama()
    optimizer = present(trained(model, torch.optim.AdamW))
    del optimizer.states[3], optimizer.states[0]
    assert faults(optimizer, trainable(model)) == []


def test_transposed_tensor_and_one_odd_one_are_no_fault() -> None:
    import torch

    model = llama()
    weights = [shape[::-1] for shape in trainable(model)]
    weights[0] = (1, 999)
    assert faults(present(trained(model, torch.optim.AdamW)), weights) == []


def test_state_of_a_parameter_that_no_group_has_is_told() -> None:
    import torch

    optimizer = present(trained(llama(), torch.optim.AdamW))
    assert faults(optimizer._replace(parameters=11), [])[0][0] == "optimizer-mismatch"


STRANGE: dict[str, object] = {
    "nothing": None,
    "a list": [],
    "no groups": {"state": {}},
    "groups without ids": {"state": {}, "param_groups": [{"lr": 1}]},
    "groups that are none": {"state": {}, "param_groups": [5]},
    "ids that are names": {"state": {}, "param_groups": [{"params": ["a"]}]},
    "id twice": {"state": {}, "param_groups": [{"params": [0]}, {"params": [0]}]},
    "state that is none": {"state": {0: 5}, "param_groups": [{"params": [0]}]},
    "state of a name": {"state": {"a": {}}, "param_groups": [{"params": [0]}]},
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_optimizer_is_none(name: str) -> None:
    assert states(STRANGE[name]) is None


def test_other_files_of_a_checkpoint_are_no_optimizer(real: str) -> None:
    for name in ("scheduler.pt", "rng_state.pth", "training_args.bin"):
        assert read(Path(real, "lora/checkpoint-100", name)) is None
