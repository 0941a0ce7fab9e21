"""Influence beside its rivals: the same nets, rows and damping, each method in processes of its own."""
