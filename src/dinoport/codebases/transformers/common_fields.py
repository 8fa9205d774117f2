"""Fields of config.json that every config of Transformers may have, whichever class it is of."""

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

# fmt: off
OF_THE_OBJECT = frozenset((
    "_auto_class", "_check_received_keys", "_decode_special_floats", "_get_config_dict", "_get_files_timestamps",
    "_get_generation_parameters", "_get_non_default_generation_parameters",
    "_hasattr_without_heterogeneous_validation", "_set_token_in_kwargs", "_validate_axial_rope_parameters",
    "_validate_default_rope_parameters", "_validate_dynamic_rope_parameters", "_validate_linear_rope_parameters",
    "_validate_llama3_rope_parameters", "_validate_longrope_rope_parameters",
    "_validate_proportional_rope_parameters", "_validate_yarn_rope_parameters",
    "allow_global_per_layer_attribute_access", "attribute_map", "base_config_key", "convert_rope_params_to_dict",
    "default_rope_type", "default_theta", "from_dict", "from_pretrained", "from_text_audio_configs",
    "from_text_vision_configs", "get_config_dict", "ignore_keys_at_rope_validation",
    "keys_to_ignore_at_inference", "nested_rope_parameter_keys", "per_layer_attributes", "register_for_auto_class",
    "save_pretrained", "standardize_rope_params", "update", "update_from_string", "validate",
    "validate_architecture", "validate_layer_type", "validate_output_attentions", "validate_rope",
    "validate_token_ids", "_create_repo", "_dict_from_json_file", "_upload_modified_files", "extra_config_files",
    "extra_files", "from_json_file", "get_mtp_config", "is_custom_code", "is_remote_code", "push_to_hub",
    "serialize_explicit_per_layer_config", "to_json_file",
))
# fmt: on
"""Methods and attributes of every config object. A field of such a name takes their place: `attribute_map` makes each
field read another."""


def is_plain_name(name: str) -> bool:
    """Whether a field that no class declares has a name that Transformers makes nothing of."""
    return name not in ASKED and name not in OF_THE_OBJECT and not name.startswith("__")
