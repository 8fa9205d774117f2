"""torchvision's names."""
