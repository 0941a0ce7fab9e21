"""Influence-weighted semi-supervised knowledge distillation."""
