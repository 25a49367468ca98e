"""The names that `sagan import` takes for formats; it imports no torch, unlike the formats."""

FORMAT_NAMES = ("studiogan", "mmgeneration", "biggan-pytorch", "mimicry", "tensorflow")
IMAGENET_NAME = "imagenet-128"  # the recommended public checkpoint, which is fetched
