"""The report of a registration: one HTML file."""
