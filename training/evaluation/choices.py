"""What `sagan evaluate` and `train --fid` can be asked for; it imports neither torch nor NumPy."""

from pathlib import Path

from model.checkpoint_folder import CONFIG_FILE

METRICS = ("fid", "kid", "is", "intra-fid", "pr", "dc", "accuracy")
MAX_USUAL_CLASSES = 50  # with more classes intra-FID is computed only on request
NUM_SAMPLES = 2_000  # of a snapshot, unless another number is given
SHIPPED = Path(__file__).parent / "classifiers"
INCEPTION = "inception"


def shipped_classifiers() -> list[str]:
    """Lists the classifiers that come with the project."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CONFIG_FILE}"))
