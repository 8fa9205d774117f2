"""The shapes of an original's layers, by the names that PyTorch gives their tensors."""

from dinoport.tensor import Shape


def linear(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, Shape]:
    """A linear layer from `columns` inputs to `rows` outputs."""
    weight: dict[str, Shape] = {f"{name}.weight": (rows, columns)}
    return weight | ({f"{name}.bias": (rows,)} if bias else {})


def norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit_stem(width: int, channels: int, patch_size: int, *, cls_token: bool = True) -> dict[str, Shape]:
    """The CLS token and the patch embedding of a ViT."""
    first: dict[str, Shape] = {"cls_token": (1, 1, width)} if cls_token else {}
    return {
        **first,
        "patch_embed.proj.weight": (width, channels, patch_size, patch_size),
        "patch_embed.proj.bias": (width,),
    }


def attention(block: str, width: int, *, qkv_bias: bool = True, proj_bias: bool = True) -> dict[str, Shape]:
    """The norm and the attention of a ViT's block, its queries, keys and values in one projection."""
    return {
        **norm(f"{block}.norm1", width),
        **linear(f"{block}.attn.qkv", 3 * width, width, bias=qkv_bias),
        **linear(f"{block}.attn.proj", width, width, bias=proj_bias),
    }


def mlp(block: str, width: int, hidden: int, *, bias: bool = True) -> dict[str, Shape]:
    """The two linear layers of a ViT's block."""
    return {
        **linear(f"{block}.mlp.fc1", hidden, width, bias=bias),
        **linear(f"{block}.mlp.fc2", width, hidden, bias=bias),
    }


def layer_scales(block: str, width: int) -> dict[str, Shape]:
    return {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
