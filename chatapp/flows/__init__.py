"""Use cases. No vendor is imported here."""
