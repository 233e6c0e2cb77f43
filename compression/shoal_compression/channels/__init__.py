"""Which channels of an ONNX graph belong together, what they are worth, and a graph without some of them.

Imports torch and onnx; techniques import it inside the functions that use it.
"""
