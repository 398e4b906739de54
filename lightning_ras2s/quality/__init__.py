"""May a denoised scene be trusted? Its noise, what was taken, what was kept, how sure it is."""
