"""Lock files, uv, Python versions and requirements.txt."""
