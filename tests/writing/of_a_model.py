"""Files as small as a word that are those of a model, which --force may replace."""

import json
from pathlib import Path

ZIP = "PK\3\4"


def write(path: Path, text: str) -> None:
    """A config, weights or a card that says `text`; by the name of the file, and so in a form that is known as ours."""
    config = json.dumps({"model_type": "vit", "architectures": ["ViTModel"], "text": text})
    path.write_text(config if path.name == "config.json" else ZIP + text if path.name.startswith("model") else text)


def read(path: Path) -> str:
    """What was written."""
    text = path.read_text()
    return str(json.loads(text)["text"]) if text.startswith('{"model_type"') else text.removeprefix(ZIP)
