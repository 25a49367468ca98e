"""Everything that speaks to Redis: jobs, replies, the registry of workers and models."""
