"""What goes over the wire: request bodies, answers, and the worker protocol."""
