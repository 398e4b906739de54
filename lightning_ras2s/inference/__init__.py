"""From a noisy cube to a clean one: what surrounds a network."""
