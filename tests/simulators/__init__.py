"""Strict fakes of the chat sites on a real socket, behind one gateway address.

    async with Gateway.start(GlmSite()) as gateway:
        ...  # start the service with UPSTREAM_GATEWAY=gateway.url
        assert not gateway.violations

A site is a module of this package with one `Simulator` class in it; `discover` finds it.
"""

import importlib
import inspect
import pkgutil

from tests.simulators.base import Call, Gateway, Simulator
from tests.simulators.faults import (
    ContentType,
    Cut,
    Fault,
    Pass,
    Reply,
    SlowHead,
    Split,
    Stall,
    Together,
    html,
    server_error,
)

__all__ = [
    "Call",
    "ContentType",
    "Cut",
    "Fault",
    "Gateway",
    "Pass",
    "Reply",
    "Simulator",
    "SlowHead",
    "Split",
    "Stall",
    "Together",
    "discover",
    "html",
    "server_error",
]


def discover() -> list[type[Simulator]]:
    """Give every site there is: the concrete `Simulator` classes of this package, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    # The tests beside the sites need more than the sites do, and `__main__` would start a server.
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names if not name.startswith(("test_", "__"))]
    found = [
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Simulator) and not inspect.isabstract(kind) and kind.__module__ == module.__name__
    ]
    return sorted(found, key=lambda kind: kind.name)
