"""A network as one file that needs no atrous: torch's program and ONNX."""
