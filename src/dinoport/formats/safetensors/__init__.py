"""Safetensors files, and the index of several."""
