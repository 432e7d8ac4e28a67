"""The embedded twin: everything that stands in for the cloud and the model on one machine, and the command that runs it all."""
