"""`aion`: the command line for people who deploy and run workflows. Entry point: `app.main`."""
