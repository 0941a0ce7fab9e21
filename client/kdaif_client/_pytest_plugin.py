"""Fixtures for pytest, found by its entry point ``pytest11``; ``-p no:kdaif`` leaves them out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from kdaif_client._client import Client
from kdaif_client.errors import MissingDependency
from kdaif_client.testing import Stack, local_stack

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def kdaif_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A real kdaif stack on the loopback, one for the session: ``kdaif_stack.target``."""
    try:
        with local_stack(tmp_path_factory.mktemp("kdaif")) as stack:
            yield stack
    except MissingDependency as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def kdaif(kdaif_stack: Stack) -> Iterator[Client]:
    """A ``kdaif_client.Client`` whose tenant is this test's own: it sees what this test made and nothing else."""
    with Client(kdaif_stack.target, tenant=f"test-{next(_numbers)}") as client:
        yield client
