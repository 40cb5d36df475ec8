"""The HTTP server: the Model API, the worker protocol, files and documentation."""
