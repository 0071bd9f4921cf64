"""KeySync: lip-sync a video to a new speech track."""
