"""Stubs of package kdaif.v1."""
