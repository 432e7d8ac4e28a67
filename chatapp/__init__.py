"""chatapp: an asynchronous chat backend for language models."""
