"""An ONNX graph that PyTorch trains in place: its operators are run one by one, and only its weights change.

Imports torch and onnx, so that techniques import it inside the functions that use it; `settings` alone is light.
"""
