"""What pip is told of indexes holds for uv, which installs what the tests need."""

from __future__ import annotations

import pytest

from tests.install import OnlyPipError, pip_options, uv_environment

LISTING = r"""
:env:.cert='/env.pem'
:env:.find-links='/ /no/such/folder'
global.cert='/global.pem'
global.extra-index-url='\nhttps://one.example/simple\nhttps://two.example/simple'
global.index-url='https://global.example/simple'
install.index-url='https://user:it%27s@install.example/simple'
freeze.timeout='10'
"""


def test_the_environment_goes_before_install_and_install_before_global() -> None:
    options = pip_options(LISTING)
    assert options["cert"] == "/env.pem"
    assert options["index-url"] == "https://user:it%27s@install.example/simple"
    assert "timeout" not in options


def test_uv_asks_the_indexes_that_pip_asks_and_takes_the_best_of_all_as_pip_does() -> None:
    assert uv_environment(pip_options(LISTING), {"HOME": "/root", "SSL_CERT_FILE": "/other.pem"}) == {
        "HOME": "/root",
        "SSL_CERT_FILE": "/env.pem",
        "UV_DEFAULT_INDEX": "https://user:it%27s@install.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/",
    }


def test_without_any_configuration_nothing_changes() -> None:
    assert uv_environment(pip_options(""), {"HOME": "/root"}) == {"HOME": "/root"}


@pytest.mark.parametrize("own", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_who_told_uv_itself_which_index_to_ask_is_obeyed(own: str) -> None:
    env = {own: "https://mine.example/simple"}
    assert uv_environment({"index-url": "https://pips.example/simple"}, env) == env


def test_a_proxy_holds_for_both_schemes_however_the_environment_spells_it() -> None:
    env = uv_environment({"proxy": "http://proxy.example:3128"}, {"https_proxy": "http://other.example"})
    assert {env[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {
        "http://proxy.example:3128"
    }


@pytest.mark.parametrize("option", ["require-hashes", "no-binary", "keyring-provider", "only-binary", "target", "pre"])
def test_what_uv_has_no_word_for_is_left_to_pip(option: str) -> None:
    with pytest.raises(OnlyPipError, match=option):
        uv_environment({option: "true"}, {})


def test_what_only_concerns_pips_looks_is_not_left_to_pip() -> None:
    assert uv_environment({"quiet": "1", "progress-bar": "off", "disable-pip-version-check": "1"}, {}) == {}
