"""The kdaif worker: a supervisor that holds the lease, and a child that trains."""
