"""Video, image and sound files: fetched, read and written."""
