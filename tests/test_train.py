"""train.py as a person starts it: bin/train in a directory of its own, killed for real, on on real data."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.support.typed import Called, Fill, Mount, present

SHORT = ("--max-steps", "24", "--save-steps", "8", "--logging-steps", "1")


def call(cwd: Path, *command: str) -> Called:
    """Run a command where `runs/` may be written; one thread each, as two workers share the machine."""
    own = {"CKPTKIT_PYTHON": sys.executable, "CKPTKIT_STATE": str(cwd / "state"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **own}, capture_output=True, text=True, check=False)
    return Called(done.returncode, done.stdout, done.stderr)


def bin_train(cwd: Path, *flags: str) -> Called:
    return call(cwd, str(CHECKOUT / "bin/train"), *flags)


def steps(run: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in run.glob("checkpoint-*"))


def history(run: Path, step: int) -> Any:
    return json.loads((run / f"checkpoint-{step}/trainer_state.json").read_text())["log_history"]


def losses(run: Path, step: int) -> dict[Any, Any]:
    """{step: loss} with every digit."""
    return {entry["step"]: entry["loss"] for entry in history(run, step) if "loss" in entry}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which bin/train ran from step 0 to 24 without a fault."""
    cwd = tmp_path_factory.mktemp("whole")
    done = bin_train(cwd, *SHORT)
    assert done.code == 0, done.err
    return cwd


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of that directory, to go on from."""
    shutil.copytree(whole, tmp_path / "copied")
    return tmp_path / "copied"


# --- without arguments -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_ends_in_two_checkpoints_and_a_model_that_learned(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    monkeypatch.chdir(whole)
    assert steps(whole / "runs/tiny") == [16, 24]
    model = AutoPeftModelForCausalLM.from_pretrained("runs/tiny/final").eval()
    tokens = AutoTokenizer.from_pretrained("runs/tiny/final")("import os\nimport sys\n", return_tensors="pt")
    learned = model(**tokens, labels=tokens["input_ids"]).loss.item()
    with model.disable_adapter():
        untrained = model(**tokens, labels=tokens["input_ids"]).loss.item()
    assert learned < untrained - 1


@pytest.mark.slow
def test_called_again_it_makes_no_step_more(copied: Path) -> None:
    done = bin_train(copied, *SHORT)
    assert done.code == 0
    assert re.search(r"train: all 24 steps are done; to go further: \S+ --max-steps 48 ", done.out)
    assert steps(copied / "runs/tiny") == [16, 24]


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(copied: Path) -> None:
    command = [str(CHECKOUT / "bin/train"), *SHORT, "--max-steps", "4000"]
    environment = {**os.environ, "CKPTKIT_PYTHON": sys.executable, "CKPTKIT_STATE": str(copied / "state")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=copied, env=environment, **pipes) as process:
        while "'loss'" not in present(process.stdout).readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    told = "train: interrupted; the same command goes on from the newest intact checkpoint"
    assert err.splitlines()[-1].endswith(told)


@pytest.mark.slow
def test_more_steps_go_on_from_the_newest(whole: Path, copied: Path) -> None:
    done = bin_train(copied, *SHORT, "--max-steps=28")
    run = copied / "runs/tiny"
    assert done.code == 0
    assert f"resuming from {run}/checkpoint-24" in done.err
    assert steps(run) == [24, 28]
    assert list(losses(run, 28)) == list(range(1, 29))
    assert {**losses(run, 28), **losses(whole / "runs/tiny", 24)} == losses(run, 28)


@pytest.mark.slow
@pytest.mark.parametrize("file, syscall", [("optimizer.pt", "write"), ("trainer_state.json", "write")])
def test_killed_in_a_save_it_repeats_every_loss_to_the_last_digit(
    whole: Path, tmp_path: Path, file: str, syscall: str
) -> None:
    run = tmp_path / "runs/tiny"
    kill = f"inject={syscall}:signal=KILL:when=1"
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-P", f"{run}/checkpoint-16/{file}", "-e", kill)
    killed = call(tmp_path, *strace, str(CHECKOUT / "bin/train"), *SHORT)
    assert killed.code in (-9, 137)
    assert steps(run) == [8, 16]

    again = bin_train(tmp_path, *SHORT)

    assert again.code == 0, again.err
    assert re.search(rf"{run}/checkpoint-16.*{file}", again.err), again.err
    assert f"resuming from {run}/checkpoint-8\n" in again.err
    assert losses(run, 24) == losses(whole / "runs/tiny", 24)
    weights = "final/adapter_model.safetensors"
    assert (run / weights).read_bytes() == (whole / "runs/tiny" / weights).read_bytes()


@pytest.mark.slow
def test_two_ranks_train_one_model(tmp_path: Path) -> None:
    torchrun: tuple[str, ...] = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    torchrun += (str(CHECKOUT / "train.py"),)
    done = call(tmp_path, *torchrun, "--max-steps", "6", "--save-steps", "2")
    assert done.code == 0, done.err
    assert steps(tmp_path / "runs/tiny") == [4, 6]
    assert (tmp_path / "runs/tiny/checkpoint-6/rng_state_1.pth").exists()
    assert done.out.count("train: the model is in runs/tiny/final\n") == 1


@pytest.mark.slow
@pytest.mark.mounts
def test_without_room_for_the_model_it_says_so_and_keeps_the_last_one(copied: Path, mount: Mount, fill: Fill) -> None:
    disk = mount("tmpfs", "size=16m")
    run = Path(shutil.copytree(copied / "runs/tiny", f"{disk}/tiny"))
    before = (run / "final/adapter_model.safetensors").read_bytes()
    shutil.rmtree(run / "checkpoint-16")  # else its room would do
    fill(disk)
    done = bin_train(copied, *SHORT, "--output-dir", str(run))
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith(f"train: {run}/final could not be written")
    assert (run / "final/adapter_model.safetensors").read_bytes() == before


# --- the real thing --------------------------------------------------------------------------------------------------


def local_model(path: Path) -> None:
    """A small Llama whose tokenizer, like many, can't pad, and has a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(path)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(path)


@pytest.mark.slow
def test_a_model_of_your_own_with_settings_from_a_file(tmp_path: Path) -> None:
    local_model(tmp_path / "model")
    chat = {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}
    rows = [json.dumps({"text": f"row {i}\u2028is one row"}, ensure_ascii=False) + "\n\n" for i in range(60)]
    (tmp_path / "data.jsonl").write_text("".join(rows) + json.dumps(chat) + "\n")
    settings = {"model": "model", "data": "data.jsonl", "block-size": 16, "max_steps": 6, "save_steps": 99}
    evaluation = {"eval_blocks": 4, "eval_strategy": "steps", "eval_steps": 3, "gradient_checkpointing": True}
    (tmp_path / "train.yaml").write_text(json.dumps({**settings, **evaluation}))

    done = bin_train(tmp_path, "--config", "train.yaml", "--save-steps=3")

    assert done.code == 0, done.err
    assert done.out.startswith("train: Transformers (not Unsloth: ")
    assert steps(tmp_path / "runs/finetune") == [3, 6]
    assert [e["step"] for e in history(tmp_path / "runs/finetune", 6) if "eval_loss" in e] == [3, 6]
    assert {"adapter_model.safetensors", "tokenizer.json"} <= set(os.listdir(tmp_path / "runs/finetune/final"))


def test_a_fault_reaches_the_shell(tmp_path: Path) -> None:
    done = bin_train(tmp_path, "--data", "nowhere.txt")
    assert done.code == 2
    assert done.err == "train: --data nowhere.txt: [Errno 2] No such file or directory: 'nowhere.txt'\n"
    assert os.listdir(tmp_path) == []
