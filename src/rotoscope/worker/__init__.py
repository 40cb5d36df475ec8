"""One process per GPU: claims jobs over HTTP, runs them, reports back."""
