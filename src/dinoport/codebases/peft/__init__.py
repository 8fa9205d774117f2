"""PEFT: low-rank parts beside the layers of a model, in its state dict or in a folder of their own."""
