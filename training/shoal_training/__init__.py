"""Training at the hub's side: data, models, exports, and the folder ("bundle") that the registry takes in.

Knows no hub. Heavy libraries (TensorFlow 10 s, scikit-learn 2 s) are imported where they are used.
"""
