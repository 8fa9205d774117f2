"""Fine-tune a converted checkpoint with the Trainer of Transformers: `python finetune.py CHECKPOINT FOLDER`.

The data are made: stripes that lie or stand. Put your own pictures in the place of `made`. The Trainer needs accelerate
(`pip install accelerate`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments

import dinoport

LABELS = ("lying", "standing")


def main(checkpoint: str | Path, out: str | Path, **asked: Any) -> float:
    """Train, keep the model in `out`, and give the share of new pictures that it names right."""
    loaded = dinoport.load(checkpoint, **asked)
    model = AutoModelForImageClassification.from_pretrained(
        loaded.folder,
        num_labels=len(LABELS),
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    random = np.random.default_rng(0)
    training = [made(random, number % 2, loaded.processor) for number in range(64)]
    arguments = TrainingArguments(
        output_dir=str(Path(out) / "runs"),
        num_train_epochs=4,
        per_device_train_batch_size=8,
        learning_rate=2e-3,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        seed=0,
    )
    Trainer(model=model, args=arguments, train_dataset=training).train()
    model.save_pretrained(out)
    loaded.processor.save_pretrained(out)
    return accuracy_of(model, [made(random, number % 2, loaded.processor) for number in range(32)])


def made(random: np.random.Generator, label: int, processor: Any) -> dict[str, Any]:
    """One picture as the model takes it, with its label."""
    stripes = np.sin(np.arange(224) * random.uniform(0.2, 0.4))
    grey = np.tile(stripes, (224, 1)) if label else np.tile(stripes[:, None], (1, 224))
    noisy = grey[..., None] * random.uniform(0.5, 1, 3) + random.normal(0, 0.3, (224, 224, 3))
    picture = Image.fromarray(np.uint8(np.clip(127 + 60 * noisy, 0, 255)))
    return {"pixel_values": processor(picture, return_tensors="pt").pixel_values[0], "labels": label}


@torch.inference_mode()
def accuracy_of(model: Any, examples: list[dict[str, Any]]) -> float:
    pixels = torch.stack([example["pixel_values"] for example in examples])
    labels = torch.tensor([example["labels"] for example in examples])
    found = model.eval()(pixel_values=pixels.to(model.device)).logits.cpu().argmax(1)
    return float((found == labels).float().mean())


if __name__ == "__main__":
    print(f"{main(sys.argv[1], sys.argv[2]):.0%} of new pictures are named right")
