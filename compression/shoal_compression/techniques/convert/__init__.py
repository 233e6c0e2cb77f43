"""Techniques that give a model another form, and leave what it computes as it is."""
