"""The way out: everything that goes to somebody else's server over HTTP on behalf of an effect."""
