"""What scenes, spectra and regions look like, and where pictures of them go."""
