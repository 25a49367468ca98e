"""Writes a run's scalars and pictures for TensorBoard.

tensorboardX has a writer of its own, on a thread. A full disk ends that thread silently, and then
the run hangs once the thread's queue is full. So this module uses tensorboardX's record writer in
the caller's thread, where a full disk raises.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import image, scalar

from model.pictures import Pixels
from training.saving.disk import writing

FOLDER = "tensorboard"


class TensorBoard:
    """A file of events in `RUN/tensorboard`. `add` returns once its points are on the disk.

    TensorBoard does not show points of more than `num_images` in older files: they are from before
    a rollback or a kill. Raises RunError if the disk refuses a record.
    """

    def __init__(self, folder: Path, num_images: int) -> None:
        self.folder = folder / FOLDER
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
            self._file = RecordWriter(str(self.folder / name))
        self._write(Event(file_version="brain.Event:2"), 0)
        self.rewind(num_images)

    def add(self, num_images: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        for name, value in values.items():
            self._write(Event(summary=scalar(name, value)), num_images)
        with writing(self.folder):
            self._file.flush()

    def picture(self, num_images: int, name: str, pixels: Pixels) -> None:
        """Adds a picture to the series `name`."""
        self._write(Event(summary=image(name, pixels, dataformats="HWC")), num_images)

    def rewind(self, num_images: int) -> None:
        """Makes TensorBoard drop the points of more than `num_images`."""
        start = SessionLog(status=SessionLog.START)
        self._write(Event(session_log=start), num_images + 1)

    def close(self) -> None:
        """Closes the file."""
        with writing(self.folder):
            self._file.close()

    def _write(self, event: Event, num_images: int) -> None:
        event.wall_time, event.step = time.time(), num_images
        with writing(self.folder):
            self._file.write(event.SerializeToString())
