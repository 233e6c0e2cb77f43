"""Distillation: a model learns from what others say."""
