"""The Open Inference Protocol v2 over gRPC, for those who install the extra `grpc`."""
