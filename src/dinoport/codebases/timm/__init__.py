"""timm's names."""
