"""The store and the ports are made of small parts: a test can fake one in a page."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import refundcli.services.ports
import refundcli.store

_MOST_METHODS = 20


def _classes() -> Iterator[type]:
    for package in (refundcli.store, refundcli.services.ports):
        for module_info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module_info.name.endswith("migrations.env"):
                continue
            module = importlib.import_module(module_info.name)
            for _, found in inspect.getmembers(module, inspect.isclass):
                if found.__module__ == module_info.name:
                    yield found


def test_no_class_of_the_store_or_the_ports_has_more_than_twenty_public_methods() -> None:
    methods_by_class = {
        f"{found.__module__}.{found.__qualname__}": [
            name
            for name, method in inspect.getmembers(found, inspect.isfunction)
            if not name.startswith("_") and method.__module__.startswith("refundcli.")
        ]
        for found in _classes()
    }
    assert len(methods_by_class) > 100
    assert {name: len(methods) for name, methods in methods_by_class.items() if len(methods) > _MOST_METHODS} == {}
