"""The flow `orchestrator`: nurses' shifts by WhatsApp. docs/orchestrator.md tells what can be said, and how to add a sub-flow."""
