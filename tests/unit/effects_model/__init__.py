"""A model of effects: the product's own flows and store, on tests/unit/protocol's table and scheduler, with targets in memory."""
