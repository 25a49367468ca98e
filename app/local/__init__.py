"""`sagan serve`: the processes of one machine."""
