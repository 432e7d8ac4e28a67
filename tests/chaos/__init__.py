"""The fault suite: real processes over real sockets, broken on purpose, and what must hold all the same."""
