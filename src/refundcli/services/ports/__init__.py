"""Interfaces of the use cases; the store, the providers and the listener implement them."""
