from collections.abc import Iterator

import pytest

from tests.hostile.material import Guard


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()
