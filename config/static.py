from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage


class ManifestStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed names; a file that is not collected keeps its plain one.

    A page that lacks its style still says what is wrong; one that cannot be
    built says nothing.
    """

    manifest_strict = False

    def hashed_name(self, name: str, *args: Any, **kwargs: Any) -> str:
        try:
            return super().hashed_name(name, *args, **kwargs)
        except ValueError:
            return name
