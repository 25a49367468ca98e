"""`sagan doctor`: looks for what keeps the service from running here, and says how to mend it."""
