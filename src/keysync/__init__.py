"""KeySync: lip-sync a video to a new speech track; nothing but the mouth changes."""

from keysync.config import SyncConfig
from keysync.errors import KeySyncError
from keysync.models import Models, load_models
from keysync.pipeline import sync, sync_file
from keysync.report import Report

__all__ = ["KeySyncError", "Models", "Report", "SyncConfig", "load_models", "sync", "sync_file"]
__version__ = "0.1.0"
