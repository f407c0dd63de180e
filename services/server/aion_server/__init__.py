"""`aion-server`: sets a cluster up, runs the services, and brings a broker for development."""
