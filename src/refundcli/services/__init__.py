"""One module per use case. They reach the store and the providers only through `ports`."""
