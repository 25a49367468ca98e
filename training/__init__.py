"""Makes SAGAN checkpoints: data, losses, steps, the loop, snapshots, export."""
