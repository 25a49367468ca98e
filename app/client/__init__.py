"""A client of the service, for Python programs; it needs neither torch nor a server's packages.

    from app.client import Client

    with Client("http://127.0.0.1:8000") as client:
        client.generate("zebra", seed=3).save("zebra.png")

AsyncClient has the same methods as coroutines. A response that is a problem document is raised as
the error of `app.errors` with its slug, such as UnknownClassError with `extra["suggestions"]`.
"""

from app.client.asynchronous import AsyncClient, AsyncJob, AsyncPicture
from app.client.problems import NoAnswerError, UnknownProblemError
from app.client.results import File, ImageClass, JobStatus, Model
from app.client.retries import Retries
from app.client.synchronous import Client, Job, Picture

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "AsyncPicture",
    "Client",
    "File",
    "ImageClass",
    "Job",
    "JobStatus",
    "Model",
    "NoAnswerError",
    "Picture",
    "Retries",
    "UnknownProblemError",
]
