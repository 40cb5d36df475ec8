"""From a plan and source frames to generated frames and sound; knows no HTTP and no jobs."""
