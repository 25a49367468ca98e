"""The process that holds a model and a device, and answers jobs from the queue."""
