"""Models that share names with a DINO, or lie where one is looked for, and are something else: each by its own name.

One table, for whoever finds models. A sign is a part of a tensor's name, from its beginning or from a dot on.
"""

from collections.abc import Callable
from typing import NamedTuple

from dinoport.codebases import stranger_signs
from dinoport.codebases.stranger_signs import Shapes
from dinoport.shown.packages import saved_again


class Stranger(NamedTuple):
    """`title` with its article, `what` it is in one sentence, and where to `go` with it.

    Any of the `signs` tells it. `tells` looks closer where no single name does: it gives what it was told by. `lacks`
    does so for what is missing, which tells nothing of a folder whose config says whose model it is. `kinds` are what a
    config.json of Transformers calls it, `builders` are parts of what timm calls it.
    """

    title: str
    what: str
    go: str
    signs: tuple[str, ...] = ()
    tells: Callable[[Shapes], str | None] = lambda shapes: None
    lacks: Callable[[Shapes], str | None] = lambda shapes: None
    kinds: tuple[str, ...] = ()
    builders: tuple[str, ...] = ()

    def told_by(self, shapes: Shapes, *, named: bool = False) -> str | None:
        """What in these names says that they are this model's; None where nothing does.

        `named` says that a config names the family.
        """
        found = (name for name in shapes for sign in self.signs if f".{sign}" in f".{name}")
        return next(found, None) or self.tells(shapes) or (None if named else self.lacks(shapes))


SIGLIP = "the image tower of a model that was trained with texts; it has no CLS token, and pools by attention"
CLIP_GO = "load it with open_clip, or as CLIPVisionModel of Transformers"

STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "a quantised model",
        "its weights are packed integers beside their scales",
        "give the weights as they were before they were quantised",
        (
            "qweight", "qzeros", "weight.absmax", "weight.quant_state", "weight.quant_map", "SCB", "weight_packed",
            "weight_scale", "_packed_params", "zero_point",
        ),
    ),
    Stranger(
        "a model of JAX (Flax, big_vision) or Keras",
        "its layers are kernels, which lie transposed, and queries, keys and values may have a dimension for each head",
        f"give PyTorch's weights: {saved_again('from_flax', 'from_tf')}",
        tells=stranger_signs.is_of_jax,
    ),
    Stranger(
        "a model with parametrised or pruned weights (weight norm, spectral norm, torch.nn.utils.prune)",
        "its weights are computed from others whenever it runs",
        "where it was trained: torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm, "
        "remove_spectral_norm or prune.remove, and save it again",
        tuple(f"{layer}.{own}" for layer in ("qkv", "attn.proj", "fc1", "fc2", "q_proj", "v_proj", "w12")
              for own in ("parametrizations.", "weight_orig", "weight_g")),
    ),
    Stranger(
        "a ResNet other than a ResNet-50",
        "another depth, width or kind of blocks than DINO's ResNet-50 has",
        "load it in torchvision or timm; DINO trained a ResNet-50 alone",
        tells=stranger_signs.is_other_resnet,
    ),
    Stranger(
        "an XCiT",
        "cross-covariance attention, which Transformers has no class for; DINO published four besides its ViTs",
        "load the file in timm (xcit_small_12_p16_224.fb_dino …), or convert one of the ViTs",
        ("attn.temperature", "local_mp.", "cls_attn_blocks."),
    ),
    Stranger(
        "a model with the head of dino.txt",
        "the text tower of dino.txt, or its head over a DINOv2, which no class of Transformers computes",
        "load it with dinov2/hub/dinotxt.py; a DINOv2 backbone of its own can be converted",
        ("block_list.", "attention_norm.weight"),
    ),
    Stranger(
        "a CLIP",
        "an image tower that was trained with texts, with a norm before its blocks and, mostly, quick GELU",
        CLIP_GO,
        ("visual.class_embedding", "visual.transformer.resblocks.", "vision_model.embeddings.class_embedding",
         "transformer.resblocks.", "embeddings.class_embedding", "pre_layrnorm."),
        stranger_signs.is_timm_clip,
        kinds=("clip", "clip_vision_model", "chinese_clip",),
        builders=("quickgelu",),
    ),
    Stranger(
        "a SigLIP or SigLIP2",
        SIGLIP,
        "load it in timm (vit_*_siglip_*), or as SiglipVisionModel or Siglip2VisionModel of Transformers",
        ("attn_pool.", "head.probe", "head.attention.in_proj_weight"),
        kinds=("siglip", "siglip_vision_model", "siglip2", "siglip2_vision_model",),
        builders=("_siglip_",),
    ),
    Stranger(
        "a CaiT",
        "its last blocks are for the CLS token alone, which no class of Transformers computes",
        "load it in timm (cait_*)",
        ("blocks_token_only.",),
    ),
    Stranger(
        "a ResNet with pooling of its own (resnetaa50, resnetblur50)",
        "it averages or blurs where a ResNet-50 strides, which no tensor shows",
        "load it in timm (resnetaa50, resnetblur50)",
        builders=("resnetaa", "resnetblur", "seresnetaa"),
    ),
    Stranger(
        "a hierarchical ViT (Swin, as EsViT trains it, CvT, PVT, MViT, Hiera)",
        "its stages merge patches, so it is another network than a ViT",
        "load it in timm or with its own code; Swin is SwinModel of Transformers, CvT is CvtModel, Hiera is HieraModel",
        ("layers.0.blocks.0.", "layers.0.downsample.", "stage0.blocks.", "stage0.patch_embed.", "patch_embed1.proj.",
         "pos_embed_window", "pos_embed_spatial", "head_dense.", "stages.0.blocks.0.attn.",
         "encoder.stages.0.layers.0.attn.", "encoder.stages.0.embedding.", "encoder.patch_embeddings.0."),
        stranger_signs.biases_in_stages,
        kinds=("swin", "swinv2", "cvt", "pvt", "pvt_v2", "hiera",),
    ),
    Stranger(
        "a Segment Anything (SAM)",
        "a ViT with windows and relative positions, without a CLS token",
        "load it with segment_anything or sam2, or as SamModel or Sam2Model of Transformers",
        ("attn.rel_pos_h", "image_encoder.neck.", "prompt_encoder.", "memory_encoder."),
        kinds=("sam", "sam_vision_model", "sam2", "sam_hq",),
    ),
    Stranger(
        "a data2vec-vision",
        "a BEiT that learnt a teacher's features, whose attention has relative positions",
        "load it with its own code (fairseq/examples/data2vec), or as Data2VecVisionModel of Transformers",
        tells=stranger_signs.is_data2vec,
        kinds=("data2vec-vision",),
    ),
    Stranger(
        "a BEiT or data2vec-vision",
        "its attention has biases for queries and values alone and, mostly, relative positions",
        "load it in timm (beit_*, beitv2_*), or as BeitModel or Data2VecVisionModel of Transformers",
        ("relative_position_bias_table", "attn.relative_position_bias_table", "rel_pos_bias."),
        stranger_signs.is_beit,
    ),
    Stranger(
        "an EVA or EVA-02",
        "its attention has biases for queries and values alone, and EVA-02 rotary positions that no DINOv3 has",
        "load it in timm (eva_*, eva02_*); Transformers has no class for it",
        ("attn.inner_attn_ln.", "rope.freqs_cos"),
        stranger_signs.is_eva02,
    ),
    Stranger(
        "a BEiT-3 or EVA-02 with norms inside its blocks",
        "its attention and its feed-forward layers have norms of their own, which no DINO has",
        "load it in timm (beit3_*, eva02_*); Transformers has no class for it",
        ("attn.norm.weight", "mlp.norm.weight"),
    ),
    Stranger(
        "a ViT that norms its queries and keys (Sapiens 2, and others of timm with qk_norm)",
        "its attention has norms for queries and keys, which no DINO has",
        "load it in timm, or with its own code",
        ("attn.q_norm.weight",),
        builders=("_sapiens2",),
    ),
    Stranger(
        "a RoPE-ViT, or another ViT of timm with rotary positions",
        "its attention rotates queries and keys by position, which no tensor shows, and no DINOv3 rotates so",
        "load it in timm (vit_*_rope_*, vit_pe_*); for a DINOv3 without registers and biases give timm's folder, whose "
        "config.json tells it",
        ("rope.freqs",),
        lacks=stranger_signs.rotates,
        builders=("_rope_", "vit_pe_"),
    ),
    Stranger(
        "a ViT of lucidrains/vit-pytorch",
        "it normalises patches, and has no bias for queries, keys and values, so no DINO computes the same",
        "load it with its own code (vit_pytorch)",
        ("to_patch_embedding.",),
    ),
    Stranger(
        "an AIMv2",
        "an autoregressive ViT whose norms have no bias, with a norm after its patches",
        "load it in timm (aimv2_*), or as Aimv2VisionModel of Transformers",
        ("patchifier.proj.", "embeddings.rms_norm.weight"),
        stranger_signs.norms_patches,
        kinds=("aimv2", "aimv2_vision_model",),
    ),
    Stranger(
        "a RADIO, or a NaFlexViT of timm",
        "a ViT with cropped positions for any proportion, several CLS tokens, and other models as teachers",
        "load it from torch.hub (NVlabs/RADIO), or in timm (vit_*_radio_*)",
        ("radio_model.", "patch_generator.", "embeds.cls_token", "embeds.pos_embed"),
        stranger_signs.is_radio,
        kinds=("radio",),
        builders=("_radio_",),
    ),
    Stranger(
        "a ViT that takes any channels (ChannelViT, Panopticon, DOFA)",
        "a kernel of its own for each channel, made or shared, stands in place of its patches",
        "load it with its own code; no class of Transformers or timm has such patches",
        ("patch_embed.channel_embed", "patch_embed.conv3d.", "patch_embed.weight_generator."),
        stranger_signs.takes_channels,
    ),
    Stranger(
        "a ViT of volumes (3DINO, and others of scans)",
        "its patches are cubes of a volume",
        "load it with its own code; no class of Transformers or timm has such patches",
        tells=stranger_signs.takes_volumes,
    ),
    Stranger(
        "a V-JEPA (1 or 2), or another model of video",
        "its patches are cubes of several frames",
        "V-JEPA 2 is VJEPA2Model of Transformers; V-JEPA is loaded with its own code",
        tells=stranger_signs.takes_video,
        kinds=("vjepa2",),
    ),
    Stranger(
        "a CAPI",
        "a ViT with rotary positions and registers under names of its own, which no class of Transformers computes",
        "load it from torch.hub (facebookresearch/capi)",
        ("residual1.fn.", "residual2.fn."),
    ),
    Stranger(
        "a Pixio",
        "an MAE with several CLS tokens, whose class is in Transformers 5 alone",
        "load it as PixioModel of Transformers 5, or with its own code (facebookresearch/pixio)",
        tells=stranger_signs.is_pixio,
        kinds=("pixio",),
    ),
    Stranger(
        "a ViT of timm that pools its patches (gap)",
        "it has no CLS token, and a norm or registers that no I-JEPA has",
        "load it in timm (vit_*_gap_*)",
        tells=stranger_signs.pools_patches,
    ),
    Stranger(
        "a ViT with a convolutional stem (MoCo v3's vit_conv_*, MSN's, hybrids)",
        "several strided convolutions with BatchNorm stand in place of its patches; no class of Transformers has that",
        "keep this model in its own code",
        ("patch_embed.proj.0.weight", "patch_embed.proj.0.0.weight", "patch_embed.stem.", "patch_embed.backbone."),
    ),
)  # fmt: skip
"""Networks that no class here computes, the closer look first."""

CHANGED: tuple[Stranger, ...] = (
    Stranger(
        "an RF-DETR or LW-DETR",
        "its backbone has a DINOv2's names, and attends within windows in most blocks, which no tensor shows",
        "load it with rfdetr, or as RfDetrModel of Transformers",
        ("reference_point_embed.", "refpoint_embed."),
        kinds=("rf_detr", "rf_detr_dinov2", "lw_detr"),
    ),
    Stranger(
        "a Depth Anything 3 of several views",
        "from one block on its DINOv2 rotates and norms queries and keys, and attends across views",
        "load it with depth_anything_3; the DINOv2 in its models of one view (DA3Mono, DA3Metric) is converted",
        tells=stranger_signs.has_views,
    ),
    Stranger(
        "a DeepLab, a PAN, an FCN or a re-identifier over a ResNet",
        "its ResNet dilates, or keeps its map, where a ResNet-50 strides, which no tensor shows",
        "keep it in its own code; if its ResNet strides as torchvision's, give its state_dict() alone",
        tells=stranger_signs.strides_elsewhere,
    ),
)
"""What computes otherwise with a backbone of a DINO's names: no place in it is taken."""

HEADS: tuple[Stranger, ...] = (
    Stranger(
        "a head for depth, without its backbone",
        "it goes with a DINOv2 or DINOv3, and no class here computes it",
        "convert the backbone on its own",
        ("reassemble_blocks.", "fusion_blocks.", "conv_depth.", "depth_head."),
    ),
    Stranger(
        "a head for segmentation or detection, without its backbone",
        "it goes with a DINO backbone, and no class here computes it",
        "convert the backbone on its own",
        ("decode_head.", "sem_seg_head.", "pixel_decoder.", "mask_head.", "class_embed.", "bbox_embed."),
    ),
)
"""What lies beside a backbone: it is named where a file holds nothing else that is known."""
