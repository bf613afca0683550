"""SentenceTransformerTrainer: one BERT, a Router of two of them, and a StaticEmbedding.

A Router's weights lie in query_0_Transformer/ and document_0_Transformer/, none at the top of the checkpoint.
"""

import shutil
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])  # not this folder: its names are those of libraries

from tests.layouts.recipes import plain  # isort: skip

CASES = {"sentence-transformers": 1, "sentence-transformers-router": 1, "sentence-transformers-static": 1}
WORDS = [f"word{number}" for number in range(plain.VOCABULARY - 3)]
SOURCE = "tiny-bert"  # beside the run while it trains: sentence-transformers takes a model from a directory


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", *WORDS])}
    made = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def make_source():
    """A BERT of a few thousand weights, with dropout."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=plain.VOCABULARY, max_position_embeddings=16, **shape)).save_pretrained(SOURCE)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "model_max_length": 16}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), **names).save_pretrained(SOURCE)


def modules(case):
    """What the model of this case is made of."""
    import sentence_transformers.sentence_transformer.modules as parts

    if case == "sentence-transformers-static":
        return [parts.StaticEmbedding(tokenizer(), embedding_dim=8), parts.Dropout(0.2)]
    if case == "sentence-transformers-router":
        make_source()
        query, document = ([parts.Transformer(SOURCE), parts.Pooling(8)] for _ in range(2))
        return [parts.Router.for_query_document(query_modules=query, document_modules=document)]
    make_source()
    return [parts.Transformer(SOURCE), parts.Pooling(8)]


def pairs():
    from datasets import Dataset

    texts = [" ".join(WORDS[number % len(WORDS)] for number in row) for row in plain.tokens(64).tolist()]
    return Dataset.from_dict({"anchor": texts[:32], "positive": texts[32:]})


def arguments(case):
    from sentence_transformers import SentenceTransformerTrainingArguments

    return SentenceTransformerTrainingArguments(
        output_dir=case,
        max_steps=plain.STEPS,
        save_steps=plain.SAVE_EVERY,
        save_total_limit=2,
        logging_steps=1,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        report_to="none",
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        seed=1,
        router_mapping={"anchor": "query", "positive": "document"} if case.endswith("router") else {},
    )


def trainer_of(case):
    """The Trainer; it notes each loss in full, and it does not save its last step: a resume has that one to do."""
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import TrainerCallback

    class NoFinalSave(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_save = control.should_save and state.global_step < args.max_steps

    class Trainer(SentenceTransformerTrainer):
        losses = ()

        def training_step(self, *args, **more):
            loss = super().training_step(*args, **more)
            self.losses = [*self.losses, float(loss)]
            return loss

    model = SentenceTransformer(modules=modules(case), device="cpu")
    loss = MultipleNegativesRankingLoss(model)
    return Trainer(model, arguments(case), train_dataset=pairs(), loss=loss, callbacks=[NoFinalSave()])


def train(case, resume):
    plain.seed()
    try:
        trainer = trainer_of(case)
        trainer.train(resume_from_checkpoint=True if resume == "auto" else resume)
    finally:
        if Path(SOURCE).exists():
            shutil.rmtree(SOURCE)
    return {"resumed_step": trainer.state.global_step - len(trainer.losses), "losses": trainer.losses}


if __name__ == "__main__":
    plain.main(train, CASES)
