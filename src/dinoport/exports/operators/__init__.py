"""ONNX's operators in float64: what torch's exporters and Transformers' own write for the networks known here."""
