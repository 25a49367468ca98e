"""The HTTP API: parses requests, queues jobs and responds with images; never imports torch."""
