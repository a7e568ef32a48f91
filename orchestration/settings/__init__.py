"""Settings: read .env, validate, generate, write."""
