"""Compression at the hub's side: makes the variants of a version and measures each against the float32 original.

Knows no hub and no training: it reads the bundle folder that training writes. Heavy libraries (TensorFlow 10 s,
ONNX Runtime's quantizer 1 s) are imported where they are used.
"""
