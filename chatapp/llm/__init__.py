"""Adapters of the `LLM` port, one module per kind of provider."""
