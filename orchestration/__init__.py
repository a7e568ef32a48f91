"""The host tool: brings the stack up, checks it, watches it and takes it down."""
