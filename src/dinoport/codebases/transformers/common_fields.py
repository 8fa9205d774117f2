"""Fields of config.json that every config of Transformers may have, whichever class it is of."""

from __future__ import annotations

# fmt: off
INERT = frozenset((
    "transformers_version", "_name_or_path", "name_or_path", "_commit_hash", "finetuning_task", "prefix",
    "tokenizer_class", "output_attentions", "torchscript", "gradient_checkpointing",
    "use_cache", "use_bfloat16", "tf_legacy_loss", "tie_word_embeddings",
    "is_encoder_decoder", "is_decoder", "add_cross_attention", "chunk_size_feed_forward",
    "cross_attention_hidden_size", "task_specific_params", "bos_token_id", "eos_token_id", "pad_token_id",
    "sep_token_id", "decoder_start_token_id", "max_length", "min_length", "do_sample", "early_stopping",
    "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p",
    "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id",
    "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens",
))
# fmt: on
"""Fields that every config of Transformers has or had: for text, for training, for what is returned beside outputs."""

# fmt: off
ASKED = frozenset((
    "_attn_implementation_internal", "use_return_dict",
    "_create_id_label_maps", "_iter_config_keys_with_heterogeneous_adjustment", "_post_init_done",
    "_encode_special_floats", "_experts_implementation",
    "_experts_implementation_internal", "_get_global_generation_defaults",
    "_getattr_without_heterogeneous_validation", "_heterogeneity_spec", "_out_features", "_out_indices",
    "_output_attentions", "_remove_keys_not_serialized", "_update_heterogeneous_to_dict_output",
    "base_model_ep_plan", "base_model_fsdp_plan", "base_model_pp_plan", "base_model_tp_plan", "decoder",
    "default_config_fields", "dict_dtype_to_str", "fusion_config", "generator", "get_text_config",
    "has_no_defaults_at_init", "head_dim", "init_std", "initializer_factor", "is_causal", "is_heterogeneous",
    "layer_types", "mtp_layer_types", "num_stages", "output_loading_info", "per_layer_config", "rope_parameters",
    "rope_scaling", "set_output_features_output_indices", "sub_configs", "sub_configs_defaults", "text_config",
    "text_encoder", "to_dict", "to_diff_dict", "to_json_string", "verify_out_features_out_indices",
    "vision_aspect_ratio", "vision_feature_layer", "vision_feature_select_strategy", "vocab_size",
))
# fmt: on
"""Names that Transformers asks a config for, and that no class here declares: what a value does is not known."""
