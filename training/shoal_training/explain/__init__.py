"""Says what a model's answers depend on: permutation importance and SHAP values of the columns that go into it."""
