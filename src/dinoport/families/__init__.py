"""The original codebases: how each one's checkpoints are told apart, and what model a checkpoint holds."""
