"""Compositions: ensembles and cascades of models under a name of their own, and the devices that serve them."""
