"""`mini`: LTX-2's classes, small, with weights that ship in this package."""
