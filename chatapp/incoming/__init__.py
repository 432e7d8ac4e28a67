"""Incoming webhooks: a gateway (for WhatsApp, say) tells what somebody wrote to a number, or that it sent somebody a template.

Signed by the gateway (signature.py), read (messages.py), and kept as a turn of the phone's session (receive.py).
"""
