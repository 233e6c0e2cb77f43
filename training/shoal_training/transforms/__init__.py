"""Makes a model's numbers of rows, by steps that are fitted once and go with the model as a part of its ONNX graph."""
