"""The classes of Hugging Face Transformers: config, image processor, and the rules from an original to the disk."""
