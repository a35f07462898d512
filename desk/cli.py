"""The command `custody`. Each part is imported when it is asked for, so that
`custody verify` needs neither the web nor a database.

Exit codes: 0 done; 1 refused or found wrong, with one sentence on stderr; 2 wrong arguments; 141 nobody
reads on.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from desk import settings as environment
from desk.settings import CannotStart, Settings


def parser() -> argparse.ArgumentParser:
    settings = "\n".join(f"  {name:<30} {told}" for name, told in environment.KNOWN.items())
    top = argparse.ArgumentParser(
        prog="custody",
        description="Chain of custody for evidence kept before any complaint is filed.",
        epilog=f"settings, read from the environment:\n{settings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: object, told: str, under: Any = commands) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = under.add_parser(name, help=told, description=told)
        made.set_defaults(run=run)
        return made

    add("serve", serve, "Run the service: PostgreSQL where no other is named, web workers, the clerk.")
    add("clerk", clerk, "Run the clerk alone: integrate, sign, and the scheduled checks.")
    add("demo", demo, "Fill the database with fictional kits and run the service.")
    database = commands.add_parser("database", help="Prepare or migrate the database.")
    database_commands = database.add_subparsers(dest="database_command", required=True, metavar="COMMAND")
    prepared = add(
        "prepare", prepare, "Make roles, schemas, rights and the guard, as a superuser.", database_commands
    )
    prepared.add_argument(
        "--superuser",
        metavar="CONNINFO",
        default="",
        help="libpq connection string of a superuser (default: PGHOST, PGUSER, PGPASSFILE and so on)",
    )
    add("migrate", migrate, "Bring the schema to the newest revision.", database_commands)
    add("check", check_schema, "Compare the schema with the tables in the code.", database_commands)
    registered = add("register", register, "Bring organisations, places and people up to a file.")
    registered.add_argument("file", type=Path, metavar="FILE", help="JSON, as docs/people.md describes it")
    registered.add_argument("--check", action="store_true", help="tell what would change, and write nothing")
    rebuilt = add("rebuild", rebuild, "Rebuild the projection from the trails and compare.")
    rebuilt.add_argument(
        "--check", action="store_true", required=True, help="compare with the stored one and change nothing"
    )
    verified = add(
        "verify", verify, "Verify a bundle or an exported log: offline, without service, database or network."
    )
    verified.add_argument(
        "what", type=Path, metavar="WHAT", help="a bundle (.zip) as it was downloaded, or an exported folder"
    )
    verified.add_argument(
        "--key",
        metavar="KEY",
        help="the log's public keys (vkey), or a file of them, from elsewhere than the bundle",
    )
    verified.add_argument(
        "--policy", type=Path, metavar="FILE", help="who must have witnessed (C2SP tlog-policy)"
    )
    verified.add_argument(
        "--roots", type=Path, metavar="FILE", help="root certificates of the time stamps (PEM)"
    )
    verified.add_argument(
        "--disclosure", type=Path, metavar="FILE", help="what was told of the private part, beside its bundle"
    )
    recovered = add("recover", recover, "Go on after the database was taken back to an earlier time.")
    recovered.add_argument("--reason", required=True, help="why, in a few words; it stays on record")
    duty = commands.add_parser("duty", help="The sealed duty credential of a centre.")
    duty_commands = duty.add_subparsers(dest="duty_command", required=True, metavar="COMMAND")
    made = add(
        "make",
        make_duty,
        "Make a new one, as a sheet to print and seal; it voids the old one.",
        duty_commands,
    )
    made.add_argument("centre", metavar="CENTRE", help="the centre's identifier in the register")
    made.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where the sheet is written (PDF)"
    )
    policies = commands.add_parser("policies", help="Retention policies, as files: offline.")
    _policies_commands(
        policies.add_subparsers(dest="policies_command", required=True, metavar="COMMAND"), add
    )
    masters = commands.add_parser("masters", help="The centres' master keys, for the private parts.")
    _masters_commands(masters.add_subparsers(dest="masters_command", required=True, metavar="COMMAND"), add)
    notices = commands.add_parser("notices", help="Try the sending of notices; take in what bounces.")
    _notices_commands(notices.add_subparsers(dest="notices_command", required=True, metavar="COMMAND"), add)
    log = commands.add_parser("log", help="Look after the logs.")
    _log_commands(log.add_subparsers(dest="log_command", required=True, metavar="COMMAND"), add)
    return top


def _log_commands(under: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    checked = add("check", check_log, "Derive both logs anew from the events and compare.", under)
    checked.add_argument(
        "--afresh", action="store_true", help="begin at the first leaf, not where an interrupted check was"
    )
    exported = add("export", export_log, "Write the public log into a folder for a static host.", under)
    exported.add_argument("folder", type=Path, metavar="DIR", help="new, or of an earlier export")
    stamped = add("stamp", stamp_log, "Have the last checkpoint stamped by the time stamp authority.", under)
    stamped.add_argument(
        "--renew", action="store_true", help="stamp older stamps again before they grow weak"
    )
    rotated = add("rotate", rotate_keys, "Sign with new keys beside the old ones.", under)
    rotated.add_argument("--reason", required=True, help="why, in a few words; it stays on record")
    rotated.add_argument(
        "--finish", action="store_true", help="end the overlap: sign with the new keys alone"
    )


def _policies_commands(under: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    checked = add("check", check_policies, "Whether policy files can be read and keep every rule.", under)
    checked.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="JSON, as docs/retention.md describes it"
    )
    shown = add("show", show_policies, "Policy files, read aloud: every value with its source.", under)
    shown.add_argument("files", type=Path, nargs="+", metavar="FILE", help="two versions are compared")


def _notices_commands(under: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    tested = add("test", test_notice, "Send one message like a notice, to see whether sending works.", under)
    tested.add_argument(
        "address", metavar="ADDRESS", help="an e-mail address of your own, or a number such as +32400000000"
    )
    tested.add_argument("--language", choices=("nl", "fr", "de", "en"), default="en")
    add(
        "bounced",
        notice_bounced,
        "Take in a report (RFC 3464, on standard input) that a notice could not be delivered.",
        under,
    )


def _masters_commands(under: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    add("list", list_masters, "Each master key: what kind, and how many kits it wraps.", under)
    made = add("make", make_master, "Lay a centre's next master key; it wraps nothing yet.", under)
    rotated = add("rotate", rotate_master, "Wrap a centre's data keys with its next master key.", under)
    for each in (made, rotated):
        each.add_argument("centre", metavar="CENTRE", help="the centre's identifier in the register")
    made.add_argument(
        "--source",
        metavar="LINE",
        help="'ENVIRONMENT NAME' or 'COMMAND program argument…' instead of a new random key",
    )
    rotated.add_argument("--reason", required=True, help="why, in a few words; it stays on record")


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    try:
        answer = int(chosen.run(chosen) or 0)
        sys.stdout.flush()
        return answer
    except BrokenPipeError:
        # Whoever reads has seen enough (`| head`). Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except CannotStart as refused:
        print(f"custody: {refused}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def serve(chosen: argparse.Namespace) -> None:
    from desk.serve import serve as run

    run(environment.read())


def clerk(chosen: argparse.Namespace) -> None:
    read = environment.read()
    if read.clerk_database_url is None:
        raise CannotStart(
            "CUSTODY_CLERK_DATABASE_URL is not set; with the embedded PostgreSQL, custody serve runs the"
            " clerk itself."
        )
    importlib.import_module("desk.discreet").settle()
    importlib.import_module("desk.clerk").run(read)


def demo(chosen: argparse.Namespace) -> None:
    from desk.serve import serve as run

    read = environment.read()
    if not read.demo:
        raise CannotStart(
            f"The demo is switched on by name: set CUSTODY_DEMO={environment.DEMO} and start it again."
        )
    run(read, before=importlib.import_module("desk.demo").fill)


def prepare(chosen: argparse.Namespace) -> None:
    from sqlalchemy.engine import make_url

    from desk import database
    from desk.postgres import DATABASE

    read = environment.read()
    if read.database_url is None:
        with _ready():
            print("The embedded database is prepared and migrated.")
        return
    named = [read.database_url, read.clerk_database_url, read.migrator_database_url]
    addresses = [make_url(url) for url in named if url is not None]
    passwords = {str(url.username): str(url.password) for url in addresses if url.password is not None}
    database.prepare(chosen.superuser, passwords, addresses[0].database or DATABASE)
    print("The database is prepared; custody database migrate comes next.")


def migrate(chosen: argparse.Namespace) -> None:
    from desk import database

    with _ready() as read:
        if read.migrator_database_url is None:
            raise CannotStart("CUSTODY_MIGRATOR_DATABASE_URL must name the database to migrate.")
        database.migrate(read.migrator_database_url)
    print("The schema is at the newest revision.")


def check_schema(chosen: argparse.Namespace) -> None:
    from desk import database

    with _ready() as read:
        if read.migrator_database_url is None:
            raise CannotStart("CUSTODY_MIGRATOR_DATABASE_URL must name the database to check.")
        database.check(read.migrator_database_url)
    print("The schema and the tables in the code agree.")


def register(chosen: argparse.Namespace) -> int:
    """The register of organisations, places and people, brought up to a file."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.people").register(read, chosen.file, check=chosen.check))


def rebuild(chosen: argparse.Namespace) -> int:
    """The projection rebuilt from the trails must equal the stored one."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.upkeep").check_projection(read))


def check_log(chosen: argparse.Namespace) -> int:
    """Both logs, recomputed from the events, must equal their leaves, tiles and checkpoints."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.upkeep").check_logs(read, afresh=chosen.afresh))


def make_duty(chosen: argparse.Namespace) -> None:
    """A new duty credential of a centre, on a sheet of paper and nowhere else."""
    with _ready(existing=True) as read:
        made = importlib.import_module("desk.duty_sheet").make
        made(read, chosen.centre, chosen.out)
    print(f"{chosen.out} has the sheet. Print it, seal it in an envelope, and delete the file.")


def check_policies(chosen: argparse.Namespace) -> int:
    """Policy files that cannot be read or break a rule are named with what is wrong."""
    return int(importlib.import_module("desk.policies").check(chosen.files))


def show_policies(chosen: argparse.Namespace) -> int:
    """Policy files as people read them."""
    return int(importlib.import_module("desk.policies").show(chosen.files))


def list_masters(chosen: argparse.Namespace) -> int:
    """Which master keys there are."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.rewrapping").show(read))


def make_master(chosen: argparse.Namespace) -> int:
    """A centre's next master key, laid to be copied."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.rewrapping").make(read, chosen.centre, chosen.source))


def rotate_master(chosen: argparse.Namespace) -> int:
    """Every data key of a centre under its next master key."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.rewrapping").rotate(read, chosen.centre, chosen.reason))


def test_notice(chosen: argparse.Namespace) -> int:
    """One message like a notice; it needs no database."""
    run = importlib.import_module("desk.notifier").test
    return int(run(environment.read(), chosen.address, chosen.language))


def notice_bounced(chosen: argparse.Namespace) -> int:
    """What a mail server sent back, recorded once."""
    most = int(importlib.import_module("desk.bounce").MOST_BYTES)
    data = sys.stdin.buffer.read(most + 1)  # no more than shows that it is too long
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.notifier").take_in(read, data))


def export_log(chosen: argparse.Namespace) -> int:
    """The published part of both logs, as files."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.export").export(read, chosen.folder))


def stamp_log(chosen: argparse.Namespace) -> int:
    """A time stamp over the last checkpoint, or over older stamps."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.stamps").stamp(read, renew=chosen.renew))


def rotate_keys(chosen: argparse.Namespace) -> int:
    """New keys for both logs, by overlap."""
    with _ready(existing=True) as read:
        return int(
            importlib.import_module("desk.succession").rotate(read, chosen.reason, finish=chosen.finish)
        )


def recover(chosen: argparse.Namespace) -> int:
    """A new epoch of each log whose database was taken back."""
    with _ready(existing=True) as read:
        return int(importlib.import_module("desk.succession").recover(read, chosen.reason))


def verify(chosen: argparse.Namespace) -> int:
    """Whatever the outcome, `desk.verify` prints it; what it returns is the exit code."""
    run = importlib.import_module("desk.verify").verify
    return int(
        run(chosen.what, chosen.key, policy=chosen.policy, roots=chosen.roots, disclosure=chosen.disclosure)
    )


@contextlib.contextmanager
def _ready(*, existing: bool = False) -> Iterator[Settings]:
    """Settings that name a database. ``existing``: a folder without one is refused, not filled with a new
    one, since an empty database agrees with everything."""
    from desk.serve import reachable

    settings = environment.read()
    if existing and settings.database_url is None and not (settings.data / "postgres").exists():
        raise CannotStart(
            f"There is no database in {settings.data}. Name its folder with CUSTODY_DATA, or the database"
            " with CUSTODY_DATABASE_URL and CUSTODY_CLERK_DATABASE_URL."
        )
    with reachable(settings) as (read, _):
        yield read


if __name__ == "__main__":
    sys.exit(main())
