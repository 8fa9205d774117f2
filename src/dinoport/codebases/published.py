"""What a published model is: the name that torch.hub knows it by, and the file that its authors offer under it."""

import re
from typing import NamedTuple

FLOAT32_BYTES = 4
"""Every published file holds float32."""

HASH_SUFFIX = re.compile(r"-([0-9a-f]{8,64})\.pth$")
"""How torch.hub reads the beginning of a file's SHA-256 out of its name."""


class PublishedModel(NamedTuple):
    """One model. `name` is its torch.hub entry (with the data set where one entry offers two), `family` ours.

    `parameters` counts all numbers in the file. `head_url` is a classifier for ImageNet's 1000 classes that a class of
    Transformers can hold, `no_head` says why there is none. `refusal` says why the model itself cannot be converted.
    `hub` is the repository of the same model on the Hugging Face Hub, where its authors keep one. A file that
    `holds_more` is one of a training run: `parameters` are the model's then.
    """

    name: str
    family: str
    url: str
    parameters: int
    licence: str
    gated: bool = False
    head_url: str | None = None
    no_head: str = "none was published"
    refusal: str | None = None
    hub: str | None = None
    holds_more: bool = False

    @property
    def size_bytes(self) -> int:
        """The size of the tensors; the file adds less than a hundredth."""
        return self.parameters * FLOAT32_BYTES

    @property
    def file_name(self) -> str:
        return file_name(self.url)

    @property
    def sha256_prefix(self) -> str | None:
        return sha256_prefix(self.url)


def file_name(url: str) -> str:
    """What torch.hub calls the file in its cache."""
    return url.rpartition("/")[2]


def sha256_prefix(url: str) -> str | None:
    """The beginning of the file's SHA-256 where its name carries one."""
    found = HASH_SUFFIX.search(url)
    return found[1] if found else None
