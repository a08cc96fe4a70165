"""What is said in an incident, as searches compare it: in one row, in one case."""

from collections.abc import Iterable, Mapping

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Concat

from .story import IncidentUpdate


def fold(text: str) -> str:
    """Return a text as it is compared: upper or lower case make no difference."""
    return text.casefold()


class SearchText(models.Model):
    """The words of one incident, kept with every change of them.

    Looking into the updates themselves would cost a look at each for each word.
    """

    incident = models.OneToOneField(
        "Incident", models.CASCADE, primary_key=True, related_name="search_text"
    )
    title = models.TextField(blank=True)
    # All updates that are told, one after the other as they were written.
    told = models.TextField(blank=True)
    # What operators alone read: notes, and what is still to be told.
    internal = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.title}"

    @classmethod
    def begin(cls, key: int, title: str, body: str) -> None:
        """Write down the first words of a new incident."""
        cls.objects.create(incident_id=key, title=fold(title), told=_line(body))

    @classmethod
    def add(cls, key: int, update: IncidentUpdate) -> None:
        """Write down one more update."""
        column = "told" if update.is_told else "internal"
        longer = Concat(F(column), Value(_line(update.body)))
        cls.objects.filter(incident=key).update(**{column: longer})

    @classmethod
    def rename(cls, key: int, title: str) -> None:
        cls.objects.filter(incident=key).update(title=fold(title))

    @classmethod
    def rewrite(cls, titles: Mapping[int, str]) -> None:
        """Write all words of some incidents anew, given by their keys, whatever there was."""
        texts = {
            key: SearchText(incident_id=key, title=fold(title))
            for key, title in titles.items()
        }
        kept = IncidentUpdate.every.kept().filter(incident__in=texts).order_by("pk")
        for update in kept.defer("html"):
            text, line = texts[update.incident_id], _line(update.body)
            if update.is_told:
                text.told += line
            else:
                text.internal += line
        SearchText.objects.bulk_create(
            list(texts.values()),
            update_conflicts=True,
            unique_fields=["incident"],
            update_fields=["title", "told", "internal"],
        )


def says(word: str, *, internal: bool) -> Q:
    """Whether an incident's title or updates have a word, notes too if `internal`."""
    columns = ("title", "told", *(("internal",) if internal else ()))
    return _any(Q((f"search_text__{name}__contains", fold(word))) for name in columns)


def _any(conditions: Iterable[Q]) -> Q:
    return Q(*conditions, _connector=Q.OR)


def _line(body: str) -> str:
    return f"\n{fold(body)}"
