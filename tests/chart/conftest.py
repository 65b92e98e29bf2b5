"""Every combination is rendered once."""

from __future__ import annotations

import functools

import pytest

from tests.chart.combinations import COMBINATIONS
from tests.chart.rendering import Rendered, render

_rendered = functools.cache(lambda name: render(COMBINATIONS[name]))


@pytest.fixture(scope="session", params=COMBINATIONS)  # so that one combination's tests follow each other
def release(request: pytest.FixtureRequest) -> Rendered:
    """Each combination in turn."""
    found: Rendered = _rendered(request.param)
    return found


@pytest.fixture
def everything() -> Rendered:
    """The one with all that there is."""
    found: Rendered = _rendered("everything")
    return found
