"""Trains models by one small interface: PyTorch, Keras, scikit-learn, XGBoost."""
