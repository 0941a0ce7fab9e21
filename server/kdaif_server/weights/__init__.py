"""Weights shards, queried: filters, pages, look-ups, summaries, and what a person decided."""
