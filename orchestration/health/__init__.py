"""The health report, the canary check and readiness."""
