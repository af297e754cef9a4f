"""Registration: two scans in, a transform and a result folder out. The door is `register`."""
