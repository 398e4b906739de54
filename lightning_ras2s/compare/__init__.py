"""Methods trained for the same time, or with as many patches, on the same data."""
