"""The deployment, run for real on a Docker engine: `tests/deploy/run`."""
