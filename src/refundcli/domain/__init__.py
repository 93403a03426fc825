"""The rules of refunding, in the standard library alone."""
