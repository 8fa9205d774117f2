"""Four proofs on a written folder: exact, loading, outputs, pixels. Only here are torch and Transformers imported."""
