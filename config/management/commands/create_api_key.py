from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from access.models import ApiKey, Scope, every_scope


class Command(BaseCommand):
    help = "Make an API key and print it, alone, on standard output. It is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who or what will use it")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            help="what it may do; may be given several times; all scopes unless given",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"].strip()[:100]
        scopes = sorted(set(options["scope"] or every_scope()))
        self.stdout.write(ApiKey(name=name, scopes=scopes).issue())
