"""Read, validate, generate and write the settings in .env."""
