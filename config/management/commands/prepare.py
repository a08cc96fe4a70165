import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser

from config.starter import make_first_admin, watch_ourselves


class Command(BaseCommand):
    help = (
        "Make ready to start: static files, migrations, the first admin, and a "
        "first monitor. What is done already is not done again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--static", action="store_true", help="only the static files"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._collect_static()
        if options["static"]:
            return
        call_command("migrate", interactive=False, verbosity=0)
        admin = make_first_admin()
        watch_ourselves()
        if admin:
            name, password = admin
            self.stdout.write(
                "\nThe first admin, shown only this once:\n\n"
                f"    name      {name}\n    password  {password}\n"
            )

    def _collect_static(self) -> None:
        """Collect only if something has changed, because compressing takes seconds."""
        if settings.DEBUG:
            return
        stamp = Path(settings.STATIC_ROOT) / ".collected"
        found = fingerprint()
        if not stamp.exists() or stamp.read_text() != found:
            call_command(
                "collectstatic",
                interactive=False,
                verbosity=0,
                # The documentation is shown by Swagger UI.
                ignore_patterns=["redoc", ".*", "*~"],
            )
            stamp.write_text(found)


def fingerprint() -> str:
    """Name the state of all static files by their paths, sizes and times."""
    seen = hashlib.sha256(settings.STATIC_URL.encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            size, changed = storage.size(path), storage.get_modified_time(path)
            seen.update(f"{path}\0{size}\0{changed}\0".encode())
    return seen.hexdigest()
