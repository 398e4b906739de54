"""A run: its folder, how it begins, goes on and ends, and what it does without when that fails."""
