"""The command line: ``serve``, ``demo``, ``check-config``, ``doctor``.

Exit codes: 0 stopped by a signal, 1 could not run (one line says why), 2 bad configuration or usage. A user's mistake never
shows a stack trace.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from listener import __version__, log_format
from listener.assembly import Settings, StartError, read_settings
from listener.check_config import check
from listener.cluster.client import ClusterConfigError
from listener.config import ConfigError

log = logging.getLogger(__name__)

OK, FAILED, USAGE = 0, 1, 2
_DEFAULT_CONFIG = "config/listener.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        log_format.set_up(os.environ)
        return int(arguments.command(arguments))
    except ConfigError as error:
        return _fail(str(error), USAGE)
    except (ValueError, _UsageError) as error:
        return _fail(str(error), USAGE)
    except (ClusterConfigError, StartError) as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return OK


class _UsageError(Exception):
    pass


def _fail(message: str, code: int) -> int:
    print(f"tekton-listener: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tekton-listener",
        description="Puts what Tekton made of a commit onto the commit; serves live logs to curl.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the service")
    default = os.environ.get("TEKTON_LISTENER_CONFIG", _DEFAULT_CONFIG)
    serve.add_argument("--config", type=Path, default=Path(default), metavar="FILE", help=f"default: {default}")
    serve.set_defaults(command=_serve)
    demo = commands.add_parser("demo", help="the service against an in-memory cluster and Git hosts")
    demo.add_argument("--port", type=int, default=8080, help="of the service; what is around it takes the next five")
    demo.add_argument("--once", action="store_true", help="play the story once and exit")
    demo.set_defaults(command=_demo)
    checker = commands.add_parser("check-config", help="check a configuration, explain where a run would be reported")
    checker.add_argument(
        "file", type=Path, nargs="?", default=Path(default), metavar="FILE", help=f"default: {default}"
    )
    checker.add_argument(
        "--run", type=Path, metavar="RUN.yaml", help="a PipelineRun, for example from kubectl get -o yaml"
    )
    checker.add_argument("--no-files", action="store_true", help="do not ask for the secret files that the file names")
    checker.set_defaults(command=_check_config)
    doctor = commands.add_parser("doctor", help="check cluster, permissions, hosts, tokens, archive; say what to mend")
    doctor.add_argument("--config", type=Path, default=Path(default), metavar="FILE", help=f"default: {default}")
    doctor.add_argument("--json", action="store_true", help="for machines")
    doctor.set_defaults(command=_doctor)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    import listener.service  # noqa: F401 - before the loop runs, and not for the other commands

    port = port_of(os.environ)
    settings = dataclasses.replace(read_settings(arguments.config, os.environ), port=port)
    return _run(lambda: _serve_until_told(settings))


async def _serve_until_told(settings: Settings) -> int:
    from listener.service import Service

    stop = stop_signal()
    async with Service(settings) as service:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reloader.ask)
        stopped, failed = asyncio.create_task(stop.wait()), asyncio.create_task(service.failed.wait())
        _, waiting = await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return FAILED if service.failure is not None else OK


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _demo(arguments: argparse.Namespace) -> int:
    from listener.demo.play import play

    async def until_told() -> int:
        return await play(port=arguments.port, once=arguments.once, stop=stop_signal())

    try:
        return _run(until_told)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise _UsageError(
            f"a port from {arguments.port} to {arguments.port + 5} is in use; give another --port"
        ) from None


def _check_config(arguments: argparse.Namespace) -> int:
    return check(arguments.file, run=arguments.run, check_files=not arguments.no_files, env=os.environ)


def _doctor(arguments: argparse.Namespace) -> int:
    from listener.doctor.command import examine

    return _run(lambda: examine(arguments.config, os.environ, json=arguments.json, say=print))


def port_of(env: Mapping[str, str]) -> int:
    """``PORT`` as the original understood it: 8080 when it is not set. Raises ``ValueError``."""
    text = env.get("PORT", "") or "8080"
    # Kubernetes' service links may have put "tcp://10.0.0.1:80" there; the original would not start either.
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise ValueError(f"PORT={text}: give a port number, 1 to 65535")
    return int(text)


def _run(main_: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """On uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main_())
    return int(uvloop.run(main_()))
