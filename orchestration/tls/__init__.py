"""The proxy's certificate and the internal CA."""
