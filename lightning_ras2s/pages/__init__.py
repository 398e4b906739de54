"""Single HTML files to open: a scene's inspector, a run's report, the list of all runs."""
