"""The gRPC contract of kdaif and its generated stubs."""
