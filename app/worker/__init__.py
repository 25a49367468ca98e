"""The worker process: holds the models on a device and runs the jobs of the queue."""
