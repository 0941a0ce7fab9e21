"""The kdaif gRPC server: thin services over the queue and the blob store."""
