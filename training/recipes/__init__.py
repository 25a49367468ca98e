"""What a run is: its config, and the presets, files and flags that it is made from."""
