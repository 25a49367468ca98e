"""The service of the client's tests.

The tests of the tools need the extra `mcp`, which the lowest versions of pydantic rule out.
"""

from importlib.util import find_spec

from tests.app.client.conftest import url, worker

__all__ = ["url", "worker"]
collect_ignore = [] if find_spec("mcp") else ["test_tools.py"]
