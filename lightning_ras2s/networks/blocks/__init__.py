"""What the networks of several papers have in common."""
