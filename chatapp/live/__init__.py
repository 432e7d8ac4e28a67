"""Adapters to Redis: the live wire. Nothing that is only here is needed to keep a promise."""
