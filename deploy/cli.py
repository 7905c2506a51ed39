"""``headroom-farm``: one command line for the Makefile, compose, manifests and tests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared import logs
from shared.errors import FarmError
from shared.model_files import MODEL_ID
from shared.settings import Settings, load_settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headroom-farm",
        description="Compress coding agents' conversations with headroom's engines.",
        epilog="Settings are read from HEADROOM_* variables; options take precedence.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="run the whole farm on this machine")
    _server_options(up)
    up.add_argument("--cpu-workers", type=int, metavar="N")
    up.add_argument("--gpu-workers", type=int, metavar="N")
    up.add_argument("--redis-url", metavar="URL", help="default: an embedded Valkey")
    up.add_argument("--data-dir", type=Path, metavar="DIR", help="data of the embedded Valkey")
    up.set_defaults(run=_up)

    api = commands.add_parser("api", help="run one front end")
    _server_options(api)
    api.add_argument("--redis-url", metavar="URL")
    api.add_argument("--listen-fd", type=int, metavar="FD", help="a supervisor's bound socket")
    api.add_argument(
        "--ready-fd", type=int, metavar="FD", help="one byte is written per serving process"
    )
    api.set_defaults(run=_api)

    worker = commands.add_parser("worker", help="run one worker")
    worker.add_argument("--pool", choices=("cpu", "gpu"), required=True)
    worker.add_argument("--redis-url", metavar="URL")
    worker.add_argument(
        "--ready-fd", type=int, metavar="FD", help="a byte is written when it is ready"
    )
    worker.set_defaults(run=_worker)

    export = commands.add_parser("export", help="write the usage records to standard output")
    export.add_argument("--format", choices=("json", "csv"), default="json")
    export.add_argument("--redis-url", metavar="URL")
    export.set_defaults(run=_export)

    restore = commands.add_parser(
        "import", help="restore exported usage records into an empty Redis"
    )
    restore.add_argument("file", type=argparse.FileType("rb"), help="an export as JSON; - is stdin")
    restore.add_argument("--redis-url", metavar="URL")
    restore.set_defaults(run=_import)

    models = commands.add_parser("models", help="fetch or check a Kompress model")
    actions = models.add_subparsers(dest="action", required=True)
    pull = actions.add_parser("pull", help="fetch a model and its tokenizer from the hub")
    pull.add_argument("--model", default=MODEL_ID, metavar="ID")
    pull.add_argument("--revision", metavar="REV", help="default: the pinned one")
    pull.add_argument("--into", type=Path, metavar="DIR", help="default: HEADROOM_MODEL_DIR")
    pull.add_argument("--token-file", type=Path, metavar="FILE", help="a token for the hub")
    pull.set_defaults(run=_pull)
    check = actions.add_parser("check", help="load a model, run one text, print provider and time")
    check.add_argument("directory", type=Path)
    check.set_defaults(run=_check)

    demo = commands.add_parser("demo", help="post a real conversation and print the savings")
    demo.add_argument("url")
    demo.add_argument(
        "--token-file",
        type=argparse.FileType("r"),
        metavar="FILE",
        help="a bearer token; - is stdin",
    )
    demo.set_defaults(run=_demo)

    bypass = commands.add_parser("bypass", help="switch compression off or on for all front ends")
    bypass.add_argument("action", choices=("on", "off", "status"))
    bypass.add_argument(
        "--for",
        dest="seconds",
        type=_positive,
        metavar="SECONDS",
        help="default: until turned off",
    )
    bypass.add_argument("--reason", metavar="TEXT")
    bypass.add_argument("--redis-url", metavar="URL")
    bypass.set_defaults(run=_bypass)

    _policy_commands(commands)

    check = commands.add_parser("check", help="check one part or the whole farm")
    parts = check.add_subparsers(dest="part", required=True)
    front_end = parts.add_parser("api", help="this container's front end")
    front_end.add_argument("--host")
    front_end.add_argument("--port", type=int)
    front_end.set_defaults(run=_check_api)
    own = parts.add_parser("worker", help="this host's workers, by their heartbeat")
    own.add_argument("--strict", action="store_true", help="also fail if Redis is unavailable")
    own.add_argument("--redis-url", metavar="URL")
    own.set_defaults(run=_check_worker)
    whole = parts.add_parser("farm", help="ready, with workers in every pool")
    whole.add_argument("url")
    whole.add_argument(
        "--provider", choices=("cpu", "cuda"), help="required provider of a text engine"
    )
    whole.add_argument("--wait", type=_positive, default=0, metavar="SECONDS")
    whole.set_defaults(run=_check_farm)
    return parser


def _policy_commands(commands: Any) -> None:
    policy = commands.add_parser("policy", help="check or explain the policy file")
    actions = policy.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="report a file's errors, with their lines")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_policy_check)
    explain = actions.add_parser("explain", help="show which rule applies, and why")
    explain.add_argument("--user", required=True, metavar="[TENANT/]USER")
    explain.add_argument("--model", default="default")
    explain.add_argument("--tool", help="explain the outputs of this tool too")
    explain.add_argument("--session", metavar="ID", help="show how this session is treated")
    explain.add_argument("--file", type=Path, help="default: HEADROOM_POLICY_FILE")
    explain.set_defaults(run=_policy_explain)
    schema = actions.add_parser("schema", help="print the file's JSON schema")
    schema.set_defaults(run=_policy_schema)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--api-processes", type=int, metavar="N")
    for provider in ("anthropic", "openai"):
        parser.add_argument(
            f"--{provider}-url",
            dest=f"{provider}_target_api_url",
            metavar="URL",
            help=f"act as a proxy for {provider.capitalize()}'s API at this address",
        )


def _settings(arguments: argparse.Namespace) -> Settings:
    """Return the environment's settings, overridden by the given options."""
    fields = Settings.model_fields
    given: dict[str, Any] = {
        name: value
        for name, value in vars(arguments).items()
        if name in fields and value is not None
    }
    settings = load_settings()
    return Settings.model_validate({**settings.model_dump(), **given})


def _up(arguments: argparse.Namespace) -> None:
    from .up_command import Farm

    external = arguments.redis_url or "redis_url" in load_settings().model_fields_set
    Farm(_settings(arguments), embedded_redis=not external).run()


def _export(arguments: argparse.Namespace) -> None:
    from api.accounting.export import Archive

    archive = Archive(_settings(arguments))
    text = archive.csv() if arguments.format == "csv" else archive.json()
    sys.stdout.write(text)


def _import(arguments: argparse.Namespace) -> None:
    from api.accounting.export import Archive

    count = Archive(_settings(arguments)).restore(arguments.file.read())
    print(f"restored {count} requests")


def _api(arguments: argparse.Namespace) -> None:
    from api.server.server import serve

    serve(_settings(arguments), listen_fd=arguments.listen_fd, ready_fd=arguments.ready_fd)


def _worker(arguments: argparse.Namespace) -> None:
    from shared.readiness import tell
    from workers.block_form import Engines
    from workers.engines import text_engine
    from workers.worker import FarmWorker

    settings = _settings(arguments)
    logs.configure(settings)
    pool = arguments.pool
    chosen = text_engine(pool, settings)
    engine, status = chosen or (None, None)
    FarmWorker(settings, Engines(pool, engine), status).run(lambda: tell(arguments.ready_fd))


def _pull(arguments: argparse.Namespace) -> None:
    from .models_command import pull

    directory = arguments.into or load_settings().model_dir or load_settings().data_dir / "model"
    print(pull(arguments.model, arguments.revision, directory, arguments.token_file))


def _check(arguments: argparse.Namespace) -> None:
    from .models_command import check

    print(check(_settings(arguments), arguments.directory))


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import demo

    demo(arguments.url, arguments.token_file.read().strip() if arguments.token_file else None)


def _bypass(arguments: argparse.Namespace) -> None:
    from .bypass_command import bypass

    settings = _settings(arguments)
    print(bypass(settings, arguments.action, arguments.reason, arguments.seconds))


def _policy_check(arguments: argparse.Namespace) -> None:
    from .policy_command import check_file

    print(check_file(arguments.file))


def _policy_explain(arguments: argparse.Namespace) -> None:
    from .policy_command import explain

    print(
        explain(
            load_settings(),
            arguments.file,
            user=arguments.user,
            model=arguments.model,
            tool=arguments.tool,
            session=arguments.session,
        )
    )


def _policy_schema(arguments: argparse.Namespace) -> None:
    from .policy_command import printed_schema

    print(printed_schema())


def _check_api(arguments: argparse.Namespace) -> None:
    from .check import check_api

    print(check_api(_settings(arguments)))


def _check_worker(arguments: argparse.Namespace) -> None:
    from .check import check_worker

    print(check_worker(_settings(arguments), strict=arguments.strict))


def _check_farm(arguments: argparse.Namespace) -> None:
    from .check import check_farm

    print(check_farm(arguments.url, provider=arguments.provider, seconds=arguments.wait))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; an invalid one ends the process with status 2."""
    return _parser().parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a usage error ends with status 2 and one line."""
    arguments = parse(argv)
    try:
        arguments.run(arguments)
    except FarmError as error:
        print(f"headroom-farm: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ValueError as error:  # includes pydantic's ValidationError
        print(f"headroom-farm: invalid setting: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
