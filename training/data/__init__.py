"""Pictures for training: their sources, and prepared folders.

This module imports nothing, so that the processes that decode pictures start without torch.
"""
