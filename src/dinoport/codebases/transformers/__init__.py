"""The classes of Hugging Face Transformers: config, image processor, and the tables to the names on disk."""
