"""What the use cases need from the world; the store, the providers and the listener fit these shapes."""
