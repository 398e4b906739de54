"""Methods x datasets x noise cases: measured once, printed as the paper prints them."""
