"""The HTTP front: parses requests, queues jobs, answers with pictures; never imports torch."""
