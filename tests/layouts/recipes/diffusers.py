"""Training scripts of diffusers, and SimpleTuner: Accelerate's `save_state` with hooks that save the model.

The loop and its hooks are those of train_dreambooth_lora.py and train_text_to_image.py, with a real, tiny UNet:
`checkpoint-N/` holds the adapter or `unet/`, and no model.safetensors. The step is in the directory's name only.

SimpleTuner itself wants a GPU and a dataset of pictures: its hooks and the end of its save are written here after its
4.10.1 (training_state.json first, then the weights and Accelerate's files, checkpoint_manifest.json, `.guard`).
"""

import json
import os
import shutil
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip

CASES = {"accelerate-diffusers-lora": 1, "accelerate-diffusers-unet": 1, "accelerate-simpletuner": 1}
SHAPE = {
    "sample_size": 4,
    "block_out_channels": (4,),
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
    "layers_per_block": 1,
    "cross_attention_dim": 4,
    "attention_head_dim": 2,
    "norm_num_groups": 2,
    "dropout": 0.2,
}


def unet(lora):
    """A UNet of a few thousand weights; with `lora` only an adapter is trained."""
    import torch
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig

    torch.manual_seed(1)
    model = UNet2DConditionModel(**SHAPE)
    if lora:
        model.requires_grad_(False)
        model.add_adapter(LoraConfig(r=2, lora_dropout=0.2, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    return model


def save_lora(models, weights, folder):
    """Save hook: the adapter in diffusers' form; what Accelerate would have saved is taken from it."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(models[0]))
    weights.pop()
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)


def load_lora(models, folder):
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_unet_state_dict_to_peft
    from peft.utils import set_peft_model_state_dict

    model = models.pop()
    state, _ = StableDiffusionPipeline.lora_state_dict(folder)
    layers = {name.removeprefix("unet."): value for name, value in state.items() if name.startswith("unet.")}
    result = set_peft_model_state_dict(model, convert_unet_state_dict_to_peft(layers), adapter_name="default")
    assert not result.unexpected_keys, result.unexpected_keys


def save_unet(models, weights, folder):
    models[0].save_pretrained(os.path.join(folder, "unet"))
    weights.pop()


def load_unet(models, folder):
    from diffusers import UNet2DConditionModel

    model = models.pop()
    loaded = UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
    model.load_state_dict(loaded.state_dict())


def add_hooks(accelerate, case):
    """Let the hooks save and load the model of this case."""
    save, load = (save_unet, load_unet) if case.endswith("unet") else (save_lora, load_lora)

    def save_with_state(models, weights, folder):
        step = int(Path(folder).name.split("-")[1])
        state = {"global_step": step, "epoch_step": step, "epoch": 1, "exhausted_backends": [], "repeats": {}}
        Path(folder, "training_state.json").write_text(json.dumps(state))
        save(models, weights, folder)

    accelerate.register_save_state_pre_hook(save_with_state if case.endswith("simpletuner") else save)
    accelerate.register_load_state_pre_hook(load)


def save_checkpoint(accelerate, case, step):
    """Two checkpoints are kept; the scripts make the room before they save."""
    kept = sorted(Path(case).glob("checkpoint-*"), key=number)
    for old in kept[: max(0, len(kept) - 1)]:
        shutil.rmtree(old)
    simpletuner = case.endswith("simpletuner")
    folder = Path(case, f"checkpoint-{step}" + ("-rolling" if simpletuner and step == plain.SAVE_EVERY else ""))
    (folder / ".guard").unlink(missing_ok=True)
    accelerate.save_state(str(folder))
    if simpletuner:
        mark_finished(folder)


def mark_finished(folder):
    """SimpleTuner's list of the files, and its mark."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    metadata = {"model_family": "sd1x", "model_type": "lora"}
    manifest = {"version": 1, "checkpoint": folder.name, "files": files, "metadata": metadata}
    (folder / "checkpoint_manifest.json").write_text(json.dumps(manifest, indent=2))
    (folder / ".guard.tmp").write_text("complete\n")
    (folder / ".guard.tmp").replace(folder / ".guard")


def number(folder):
    return int(folder.name.split("-")[1])


def loss_of(model, latents):
    """Predict the noise that was put onto the pictures."""
    import torch

    noise, time = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
    text = torch.zeros(len(latents), 2, 4)
    strength = (time.float() / 1000).view(-1, 1, 1, 1)
    return torch.nn.functional.mse_loss(model(latents + strength * noise, time, text).sample, noise)


def train(case, resume):
    import torch
    from accelerate import Accelerator

    plain.seed()
    accelerate = Accelerator(cpu=True)
    add_hooks(accelerate, case)
    model = unet(lora=not case.endswith("unet"))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 20)
    model, optimizer, scheduler = accelerate.prepare(model, optimizer, scheduler)
    data = torch.randn(plain.STEPS, plain.BATCH, 4, 4, 4, generator=torch.Generator().manual_seed(7))
    resumed, losses = 0, []
    if resume:
        folder = max(Path(case).glob("checkpoint*"), key=number) if resume == "auto" else Path(resume)
        accelerate.load_state(str(folder))
        resumed = number(folder)
    for step, latents in enumerate(data[resumed:], resumed + 1):
        loss = loss_of(model, latents)
        accelerate.backward(loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % plain.SAVE_EVERY == 0:
            save_checkpoint(accelerate, case, step)
    return {"resumed_step": resumed, "losses": losses}


if __name__ == "__main__":
    plain.main(train, CASES)
