"""What the replicas of a service have in common, in Redis; a service without `REDIS_URL` is alone."""
