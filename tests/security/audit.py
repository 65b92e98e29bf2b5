"""``make audit``: what the service is made of (an SBOM), and whether any of it is known to be vulnerable.

Installs what ships into an environment of its own, by the constraints, and writes ``build/sbom.json`` (CycloneDX) of it. Then every
pinned package, tools too, is looked up in a database of advisories. A database that cannot be asked says nothing, and some ways of
not answering look like "nothing known"; so it is first asked for a version that is known to be bad, and believed only if it says so.

Exit codes: 0 nothing is known, 1 something is, 2 it could not be found out.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
BUILD: Final = ROOT / "build"
CANARY: Final = "urllib3==1.26.4\n"  # CVE-2021-33503 and others
SERVICES: Final = ("pypi", "osv")
SHIPPED: Final = ".[archive,chat,tracing]"
FINE, VULNERABLE, UNKNOWN = 0, 1, 2


def main() -> int:
    """Both parts; gives the exit code."""
    BUILD.mkdir(exist_ok=True)
    number = sbom(BUILD / "sbom.json")
    say(f"build/sbom.json names {number} distributions, all that are installed")
    service = next((name for name in SERVICES if knows_the_canary(name)), None)
    if service is None:
        say(
            f"NOT AUDITED: no database of advisories ({', '.join(SERVICES)}) can be asked from here, or none knows that "
            f"{CANARY.strip()} is vulnerable. Run it where one can be reached."
        )
        return UNKNOWN
    return judged(ask(service, ROOT / "constraints.txt"), source=service)


def sbom(target: Path) -> int:
    """Write the SBOM of what ships; gives the number of distributions in it. Raises ``SystemExit`` where one is missing."""
    folder = BUILD / "audit"
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", str(ROOT) + SHIPPED[1:])
    for left in (BUILD / "lib", *BUILD.glob("bdist.*")):  # by the build; a later one would take it for new
        shutil.rmtree(left, ignore_errors=True)
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip", "setuptools")
    run(
        sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", ROOT / "pyproject.toml", "--mc-type", "application",
        "--output-reproducible", "--of", "JSON", "-o", target, python,
    )  # fmt: skip
    listing = (
        "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    )
    installed = {(canonical(name), version) for name, version in json.loads(run(python, "-c", listing))}
    if missing := installed - named_in(json.loads(target.read_text())):
        raise SystemExit(f"the SBOM does not name {sorted(missing)}")
    return len(installed)


def named_in(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Names and versions of an SBOM's components and its subject."""
    parts = [*document.get("components", ()), document.get("metadata", {}).get("component", {})]
    return {(canonical(part.get("name", "")), part.get("version", "")) for part in parts}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def knows_the_canary(service: str) -> bool:
    """Whether a database can be asked, and answers."""
    path = BUILD / "canary.txt"
    path.write_text(CANARY)
    return any(package.get("vulns") for package in ask(service, path))


def ask(service: str, requirements: Path) -> list[dict[str, Any]]:
    """What is known of pinned packages; nothing at all where the database cannot be asked."""
    command = [sys.executable, "-m", "pip_audit", "-s", service, "-f", "json", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--timeout", "20", "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return found


def judged(packages: list[dict[str, Any]], *, source: str) -> int:
    """Say what is known of ``packages``; gives the exit code. One that was skipped is one that nothing is known of."""
    skipped = [package for package in packages if "skip_reason" in package]
    bad = [package for package in packages if package.get("vulns")]
    for package in bad:
        for known in package["vulns"]:
            fixed = ", ".join(known.get("fix_versions", ())) or "no version yet"
            say(f"VULNERABLE: {package['name']} {package['version']}: {known['id']}, mended in {fixed}")
    for package in skipped:
        say(f"NOT AUDITED: {package['name']}: {package['skip_reason']}")
    if bad:
        return VULNERABLE
    if skipped or not packages:
        say("NOT AUDITED in full")
        return UNKNOWN
    say(f"nothing is known against {len(packages)} packages ({source})")
    return FINE


def run(*command: str | Path) -> str:
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
