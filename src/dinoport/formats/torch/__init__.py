"""What torch.save writes: zip files, the legacy format, and the pickle in both."""
