"""Our own code in the services, mounted at /opt/stack."""
