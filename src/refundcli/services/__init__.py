"""One module per use case. They speak to the world through `ports` alone."""
