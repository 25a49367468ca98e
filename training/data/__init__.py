"""Pictures for training: where they come from, prepared folders, and the order they are seen in.

Nothing is imported here, so that the processes that decode pictures start without torch.
"""
