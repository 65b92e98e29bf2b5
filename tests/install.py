"""Install this project into the virtual environment that runs this: ``python -m tests.install '.[dev]'``.

By uv, which does in seconds what takes pip most of a minute; by pip if there is no uv for this machine, if pip is configured in a way
that uv has no word for, or if uv fails. What pip is told of indexes, mirrors, certificates and proxies holds for uv too. uv's own settings,
where somebody has some, go first. Nothing but the standard library is needed, and pip.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CONSTRAINTS = "constraints.txt"

#: What pip calls it: what uv calls it, and what uv has between several.
WORDS = {
    "index-url": ("UV_DEFAULT_INDEX", ""),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", ""),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", ""),
    "client-cert": ("SSL_CLIENT_CERT", ""),
    "proxy": ("HTTPS_PROXY", ""),
    "timeout": ("UV_HTTP_TIMEOUT", ""),
    "default-timeout": ("UV_HTTP_TIMEOUT", ""),
    "retries": ("UV_HTTP_RETRIES", ""),
}
#: uv's older names: who has set one of these has told uv which index to ask.
OLD_WORDS = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
ALSO = {"HTTPS_PROXY": ("https_proxy", "HTTP_PROXY", "http_proxy")}
#: What does not change which files are installed.
HARMLESS = {
    *("cache-dir", "disable-pip-version-check", "no-cache-dir", "no-color", "no-input", "no-warn-script-location", "prefer-binary"),
    *("progress-bar", "quiet", "require-virtualenv", "root-user-action", "verbose", "no-compile", "compile", "break-system-packages"),
}  # fmt: skip


class OnlyPipError(Exception):
    """Pip is configured in a way that uv has no word for."""


def pip_options(listing: str) -> dict[str, str]:
    """What ``pip config list`` says of installing: the environment before ``[install]`` before ``[global]``, as pip has it."""
    order = ("global", "install", ":env:")
    found: dict[str, tuple[int, str]] = {}
    for line in listing.splitlines():
        key, _, text = line.partition("=")
        section, _, option = key.rpartition(".")
        if section not in order:
            continue
        rank = order.index(section)
        if option not in found or found[option][0] <= rank:
            found[option] = rank, str(ast.literal_eval(text))
    return {option: value for option, (_, value) in found.items()}


def uv_environment(options: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """``env`` with what pip is told, in uv's words. Raises ``OnlyPipError``."""
    said = dict(env)
    for option, value in options.items():
        parts = value.split()
        if option in HARMLESS or not parts:
            continue
        if option not in WORDS:
            raise OnlyPipError(f"pip is configured with {option}")
        word, between = WORDS[option]
        if len(parts) > 1 and not between:
            raise OnlyPipError(f"pip is configured with more than one {option}")
        if option == "find-links":  # uv refuses a folder that does not exist, pip warns of it
            parts = [part for part in parts if "://" in part or Path(part).exists()]
        if word.startswith("UV_") and (word in env or OLD_WORDS.get(word, word) in env):
            continue
        for name in (word, *ALSO.get(word, ())) if parts else ():
            said[name] = between.join(parts)
    if "UV_INDEX" in said and "UV_INDEX" not in env:  # pip takes the best of all indexes, uv the first that has any
        said.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return said


def like_pip(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` for uv, so that it asks the indexes that pip asks. Raises ``OnlyPipError``."""
    listing = subprocess.run(_pip("config", "list"), check=True, capture_output=True, text=True, env=dict(env)).stdout
    return uv_environment(pip_options(listing), env)


def _pip(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]


def _by_uv(target: str) -> str:
    """Install by uv. Gives why it did not, or nothing."""
    uv = Path(sys.executable).with_name("uv")
    try:
        env = like_pip(os.environ)
        if not uv.exists():
            wheel = _pip("install", "--quiet", "--only-binary", "uv", "--constraint", CONSTRAINTS, "uv")
            subprocess.run(wheel, check=True)
        command = [str(uv), "pip", "install", "--quiet", "--python", sys.executable]
        subprocess.run([*command, "--constraint", CONSTRAINTS, "--editable", target], check=True, env=env)
    except OnlyPipError as error:
        return str(error)
    except (OSError, ValueError, SyntaxError, subprocess.CalledProcessError) as error:
        return f"uv could not: {error}"
    return ""


def install(target: str) -> int:
    """Install ``target``; gives the exit code."""
    if not (why := _by_uv(target)):
        return 0
    sys.stderr.write(f"installing with pip, it takes a minute ({why})\n")
    command = _pip("install", "--quiet", "--constraint", CONSTRAINTS, "--editable", target)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(install(sys.argv[1]))
