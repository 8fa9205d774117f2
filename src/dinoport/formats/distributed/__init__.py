"""torch.distributed.checkpoint: a folder of .distcp files."""
