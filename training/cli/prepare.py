"""`sagan prepare`."""

from pathlib import Path

import click


@click.command("prepare")
@click.argument("source")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--size",
    type=click.Choice(["32", "64", "128", "256"]),
    required=True,
    help="Side of the pictures in pixels.",
)
@click.option(
    "--num-pictures",
    type=click.IntRange(2),
    default=20_000,
    show_default=True,
    help="How many pictures of the picturebook to draw.",
)
@click.option(
    "--class-level",
    type=click.Choice(["1", "2"]),
    help="Which folders are the classes: 1, those right in SOURCE whatever they are called; 2, "
    "their subfolders, taking those of equal names together (train/cat, test/cat). "
    "[default: 1, but the parts of a data set are refused]",
)
def prepare_command(
    source: str, out: Path, size: str, num_pictures: int, class_level: str | None
) -> None:
    """Prepare the pictures of SOURCE for training, in the folder OUT.

    `sagan train --data OUT` trains on that folder.

    SOURCE is a folder with a folder of pictures for each class (ImageNet's layout; WordNet ids are
    replaced by ImageNet's names), a flat folder of pictures, a folder that StyleGAN's
    `dataset_tool` has written, CIFAR-10 or CIFAR-100 (python version, the archive or its folder), a
    Hugging Face data set (hf:NAME, or a folder that `save_to_disk` has written), or `picturebook`.

    Each picture is cropped to its central square and resized. The command runs on all cores; after
    Ctrl-C or a crash the same command resumes. Files that cannot be read are left out;
    OUT/unreadable.txt lists them with the reason.

    \b
    sagan prepare imagenet/train prepared/imagenet-128 --size 128
    sagan prepare cifar-10-python.tar.gz prepared/cifar-32 --size 32
    """
    from training.cli.preparation import run_preparation  # NumPy, which --help can do without

    run_preparation(source, out, int(size), num_pictures, class_level)
