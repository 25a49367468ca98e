"""The commands of training, a module each."""
