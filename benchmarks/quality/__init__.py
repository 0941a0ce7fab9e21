"""Does influence weighting beat uniform distillation and its rivals? In process, seeded, on real data."""
