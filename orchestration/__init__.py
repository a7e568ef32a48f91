"""The host tool: install, start, check, repair and stop the stack."""
