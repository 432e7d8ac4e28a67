"""The WebSocket server: pushes the events of sessions to their owners' sockets."""
