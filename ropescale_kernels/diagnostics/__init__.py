"""What runs here, why the rest does not, and how exact it is."""
