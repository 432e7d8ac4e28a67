"""Adapters of travel APIs: airports and flights for the interview."""
