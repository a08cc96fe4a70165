from whitenoise.storage import CompressedManifestStaticFilesStorage


class ManifestStorage(CompressedManifestStaticFilesStorage):
    """Hashed, compressed names; a file that is not collected keeps its plain one."""

    manifest_strict = False
