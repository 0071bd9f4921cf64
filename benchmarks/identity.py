"""Is everything outside the mask untouched? Lossless sync, then frame by frame against the source.

    python benchmarks/identity.py SPEECH VIDEO [VIDEO ...]

For each video: frames, the largest difference of a frame time (seconds), pixels that differ outside the
reported boxes (all planes; must be 0), and the lengths of picture and sound.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import av
import numpy as np

from keysync import SyncConfig, load_models, sync_file
from keysync.media.read import read_frames

ROW = "{:<36} {:>10} {:>7} {:>9} {:>16} {:>10} {:>9}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Check that nothing but the mouth changes.")
    parser.add_argument("speech", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    options = parser.parse_args()
    models = load_models("compact", "cpu")
    titles = ("video", "size", "frames", "time s", "changed outside", "picture s", "sound s")
    print(ROW.format(*titles))
    for video in options.videos:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.mkv"
            config = SyncConfig(video_codec="ffv1")
            report = sync_file(video, options.speech, out, models=models, config=config)
            frames, late, changed, size = 0, 0.0, 0, ""
            pairs = zip(read_frames(video), read_frames(out), report.boxes, strict=True)
            for before, after, box in pairs:
                frames += 1
                size = f"{after.picture.width}x{after.picture.height}"
                late = max(late, abs(float(before.time - after.time)))
                differs = (before.rgb() != after.rgb()).any(axis=2)
                if box is not None:
                    differs[box[1] : box[3], box[0] : box[2]] = False
                changed += int(np.count_nonzero(differs))
            with av.open(str(out)) as container:
                rate = container.streams.audio[0].rate
                sound = sum(block.samples for block in container.decode(audio=0)) / rate
            picture = float(report.end - report.start)
            cells = (video.name, size, frames, f"{late:.5f}", changed, f"{picture:.3f}", f"{sound:.3f}")
            print(ROW.format(*cells), flush=True)


if __name__ == "__main__":
    main()
