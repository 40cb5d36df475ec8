"""Make the `mini` checkpoint from data that installs by pip; README.md tells how and why."""
