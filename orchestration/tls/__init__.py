"""The TLS proxy's certificate and the internal CA."""
