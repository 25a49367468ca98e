"""The config of a run, and the presets, files and flags that it is made from."""
