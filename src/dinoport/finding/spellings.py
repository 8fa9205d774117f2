"""Names whose parts are joined by a slash or an underscore, as dicts of NumPy's and exports have them: with dots."""

import re
from collections.abc import Mapping

from dinoport.finding.bare_names import anchor_of
from dinoport.tensor import TensorRef

PART = re.compile(
    r"(?:cls|mask|reg|dist|register|storage)_tokens?|(?:patch|pos|rope)_embed|bias_mask|[qv]_bias|fc_norm"
    r"|downsample_layers|num_batches_tracked|running_(?:mean|var)|[^_]+"
)
"""Parts of the originals' names and timm's that have underscores of their own, and any other."""


RENAMED = re.compile(r"(\.ls[12])\.scale_factor$")
"""What OpenVLA calls `gamma`, a word that older versions of Transformers took for a norm's weight."""


def by_usual_names(tensors: Mapping[str, TensorRef]) -> tuple[dict[str, TensorRef], str]:
    """The tensors by names with dots and the usual layer scales, and a word on what was read so."""
    usual, note = (dict(tensors), "") if any(map(anchor_of, tensors)) else with_dots(tensors)
    names = {name: RENAMED.sub(r"\1.gamma", name) for name in usual}
    if len(set(names.values())) < len(names) or all(map(str.__eq__, names, names.values())):
        return usual, note
    return {names[name]: tensor for name, tensor in usual.items()}, "ls1.scale_factor read as ls1.gamma"


def with_dots(tensors: Mapping[str, TensorRef]) -> tuple[dict[str, TensorRef], str]:
    """The tensors by names with dots, and a word on what was read so; as they are where these begin no known model.

    The layouts stay as they are: names of JAX, whose kernels are transposed, begin none.
    """
    for joiner in "/_":
        names = {name: name.replace("/", ".") if joiner == "/" else ".".join(PART.findall(name)) for name in tensors}
        begins = any(map(anchor_of, names.values()))
        is_so = joiner == "/" or not any("." in name for name in tensors)
        if is_so and begins and any(map(str.__ne__, names, names.values())) and len(set(names.values())) == len(names):
            return {
                names[name]: tensor for name, tensor in tensors.items()
            }, f"names joined by {joiner!r} read with dots"
    return dict(tensors), ""
