"""Are occluders found, and left alone? Drawn people with exact masks, and real clips that get drawn covers.

    python benchmarks/occlusion.py [--seed 1] [--clips 40] [--json FILE] [--real FOLDER]
                                   [--sheet PICTURE] [--strip PICTURE]

    iou          mean over frames with a cover, of the cover inside the region to repaint
    recall       share of the hidden pixels of the mouth (landmarks 48-59) that were found
    false_alarm  share of the region's pixels called hidden in the same clips with nothing in front
    kept         drawn clips: share of the pixels with true alpha above 0.9 that differ by less than one level
                 from the source after a sync with the compact model
    cost         share of such a sync's time that finding and keeping covers takes

People, textures and paths of drawn clips are of the split ``test``, which no training draws from. Over
real clips ``synthetic.occlude`` lays drawn covers, in memory; nothing of them is written.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from keysync import load_models, sync_file
from keysync.clip import Frame
from keysync.config import SyncConfig
from keysync.face.crop import crop
from keysync.face.survey import Appearance, Survey, survey
from keysync.face.warp import apply, warp
from keysync.mask.region import lower_face_box
from keysync.mask.segmenter import SIDE
from keysync.media.read import read_frames
from keysync.models import Models, load_occlusion
from keysync.occluders import find_occluders, refine_occluders
from keysync.report import Report
from keysync.synthetic.make import draw_clip, plan_clips
from keysync.synthetic.occlude import mouth_and_size, occlude

REAL_KINDS = ("hand", "cup", "microphone", "caption")
SECONDS, FRAME_SIDE = 1.6, 320


@dataclass
class Scores:
    """Sums over clips."""

    iou: list[float] = field(default_factory=list)
    hidden: int = 0
    found: int = 0
    false: int = 0
    clear: int = 0
    per_kind: dict[str, list[float]] = field(default_factory=dict)

    def table(self) -> dict[str, float]:
        """The numbers that are promised."""
        return {
            "iou": round(float(np.mean(self.iou)), 4) if self.iou else float("nan"),
            "recall": round(self.found / max(self.hidden, 1), 4),
            "false_alarm": round(self.false / max(self.clear, 1), 5),
        }


@dataclass(frozen=True)
class Synced:
    """Frames of a clip before and after a sync."""

    before: list[np.ndarray]
    after: list[np.ndarray]
    report: Report


def film(pictures: np.ndarray, fps: float = 25) -> Iterator[Frame]:
    """Pictures as the frames of a clip."""
    for number, picture in enumerate(pictures):
        rgb = np.ascontiguousarray(picture)
        yield Frame(av.VideoFrame.from_ndarray(rgb, format="rgb24"), Fraction(number) / Fraction(fps))


def look(pictures: np.ndarray, models: Models, occlusion: str) -> Survey:
    """Faces and what covers them, as a sync finds them."""
    seen = survey(film(pictures), models.tracker, models.framing, models.image_size)
    looking = load_occlusion(occlusion, models.device)  # type: ignore[arg-type]
    assert looking is not None
    everyone, size = seen.people(), models.image_size
    seen = find_occluders(film(pictures), seen, everyone, looking.finder, size)
    if looking.follower is not None:
        seen = refine_occluders(film(pictures), seen, everyone, looking.follower, size)
    return seen


def frames_of(seen: Survey) -> Iterator[tuple[int, Appearance, int]]:
    """Number of the frame, appearance of the main person, place in it."""
    for part in seen.appearances:
        if part.person == 1:
            yield from ((part.first + place, part, place) for place in range(len(part)))


def region_and_mask(part: Appearance, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At the segmenter's size: the region to repaint, the mouth, what was found."""
    to_small = part.to_crop[place] * (SIDE / 512)
    points = apply(to_small, part.landmarks[place]).astype(np.float32)
    mouth = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(mouth, cv2.convexHull(np.round(points[48:60]).astype(np.int32)), 1)
    cover = part.covers[place]
    found = cover.alpha() > 0.5 if cover else np.zeros((SIDE, SIDE), bool)
    return lower_face_box(points, SIDE) > 0, mouth > 0, found


def truth_at(number: int, part: Appearance, place: int, alpha: np.ndarray) -> np.ndarray:
    """What is hidden in a frame, at the segmenter's size."""
    return np.asarray(warp(alpha[number], part.to_crop[place] * (SIDE / 512), SIDE, SIDE) > 127)


def judge_covered(seen: Survey, alpha: np.ndarray, scores: Scores, kind: str) -> list[tuple[float, int]]:
    """Compare with the truth; IoU and number of every frame that has a cover."""
    frames = []
    for number, part, place in frames_of(seen):
        region, mouth, found = region_and_mask(part, place)
        truth = truth_at(number, part, place, alpha)
        scores.hidden += int((truth & mouth).sum())
        scores.found += int((truth & mouth & found).sum())
        inside, said = truth & region, found & region
        if inside.sum() > 0.005 * region.sum():
            iou = float((inside & said).sum() / (inside | said).sum())
            frames.append((iou, number))
            scores.iou.append(iou)
            scores.per_kind.setdefault(kind, []).append(iou)
    return frames


def hidden_mouth(number: int, part: Appearance, place: int, alpha: np.ndarray) -> int:
    """Pixels of the mouth that the truth hides."""
    _, mouth, _ = region_and_mask(part, place)
    return int((truth_at(number, part, place, alpha) & mouth).sum())


def judge_clear(seen: Survey, scores: Scores) -> float:
    """Count false alarms; the share of this clip's region."""
    false = clear = 0
    for _, part, place in frames_of(seen):
        region, _, found = region_and_mask(part, place)
        false, clear = false + int((found & region).sum()), clear + int(region.sum())
    scores.false, scores.clear = scores.false + false, scores.clear + clear
    return false / max(clear, 1)


def strip(pictures: np.ndarray, seen: Survey, alpha: np.ndarray | None, number: int) -> np.ndarray:
    """A crop beside itself with what was found (red) and the truth's outline (green)."""
    for at, part, place in frames_of(seen):
        if at == number:
            cut = crop(pictures[number], part.to_crop[place], 512)
            _, _, found = region_and_mask(part, place)
            shown = cut.copy()
            large = cv2.resize(found.astype(np.uint8), (512, 512)) > 0
            shown[large] = shown[large] // 2 + np.array([127, 0, 0], np.uint8)
            if alpha is not None:
                truth = (warp(alpha[number], part.to_crop[place], 512, 512) > 127).astype(np.uint8)
                lines = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
                cv2.drawContours(shown, lines, -1, (0, 255, 0), 2)
            return cv2.resize(np.concatenate([cut, shown], axis=1), (256, 128), interpolation=cv2.INTER_AREA)
    return np.zeros((128, 256, 3), np.uint8)


def drawn(
    models: Models, options: argparse.Namespace, tiles: list[np.ndarray], strips: list[np.ndarray]
) -> tuple[Scores, dict[str, float]]:
    """Drawn clips: found and false, and what a sync leaves of the cover."""
    scores = Scores()
    same = counted = 0
    spent: dict[str, float] = {}
    plans = plan_clips(
        options.clips, 900 + options.seed, split="test", size=(FRAME_SIDE, FRAME_SIDE), seconds=SECONDS,
        framing="head", occluders=True,
    )  # fmt: skip
    for index, plan in enumerate(plans):
        clip = draw_clip(plan)
        alpha, clean = clip.masks.occluder, clip.clean
        assert alpha is not None and clean is not None  # noqa: PT018
        seen = look(clip.frames, models, options.occlusion)
        frames = judge_covered(seen, alpha, scores, "drawn")
        plain = look(clean, models, options.occlusion)
        false = judge_clear(plain, scores)
        mean = float(np.mean([iou for iou, _ in frames])) if frames else float("nan")
        line = f"drawn {index:>3}: iou {mean:.3f} over {len(frames)} frames, false alarm {false:.2%}"
        if frames:
            tiles.append(strip(clip.frames, seen, alpha, sorted(frames)[len(frames) // 4][1]))
        if false > 0.005:
            tiles.append(strip(clean, plain, None, len(clean) // 2))
        if index < options.synced and seen.people():  # a face that nobody finds passes through
            done = synced(clip.frames, clip.audio16k, models, options.occlusion)
            for stage, seconds in done.report.seconds.items():
                spent[stage] = spent.get(stage, 0.0) + seconds
            kept, pixels = kept_pixels(done, alpha)
            same, counted = same + kept, counted + pixels
            line += f", kept {kept / max(pixels, 1):.4f} of {pixels}"
            most = max(frames_of(seen), key=lambda at: (hidden_mouth(*at, alpha), at[0]))
            if options.strip and hidden_mouth(*most, alpha):
                number, part, place = most
                careless = synced(clip.frames, clip.audio16k, models, "off")
                three = [done.before[number], careless.after[number], done.after[number]]
                shown = [crop(picture, part.to_crop[place], 512) for picture in three]
                shown = [cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in shown]
                nothing = strip(clean, plain, None, number)[:, 128:]
                strips.append(np.concatenate([*shown, nothing], axis=1))
        print(line, flush=True)
    return scores, {"kept": round(same / max(counted, 1), 5), **_cost(spent)}


def synced(pictures: np.ndarray, sound: np.ndarray, models: Models, how: str) -> Synced:
    """A clip before and after a sync with its own speech backwards, so that every frame is repainted."""
    with tempfile.TemporaryDirectory() as scratch:
        source, out, speech = (Path(scratch) / name for name in ("in.mkv", "out.mkv", "said.wav"))
        with av.open(str(source), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "yuv444p"
            for number, frame in enumerate(film(pictures)):
                picture = frame.picture.reformat(format="yuv444p")
                picture.pts = number
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        with av.open(str(speech), "w") as container:
            track = container.add_stream("pcm_s16le", rate=16000, layout="mono")
            samples = (np.clip(sound[None, ::-1], -1, 1) * 32767).astype(np.int16)
            said = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
            said.sample_rate = 16000
            container.mux(track.encode(said))
            container.mux(track.encode(None))
        config = SyncConfig(length="video", video_codec="ffv1", occlusion=how)  # type: ignore[arg-type]
        report = sync_file(source, speech, out, models=models, config=config)
        before, after = ([frame.rgb() for frame in read_frames(path)] for path in (source, out))
        return Synced(before, after, report)


def kept_pixels(film: Synced, alpha: np.ndarray) -> tuple[int, int]:
    """Pixels under the cover, within what was painted, that a sync leaves as they are; and all of them."""
    same = counted = 0
    for before, after, mask, box in zip(film.before, film.after, alpha, film.report.boxes, strict=True):
        if box is not None:
            x0, y0, x1, y1 = box
            near = np.s_[y0:y1, x0:x1]
            inside = mask[near] > 0.9 * 255
            change = np.abs(before[near].astype(int) - after[near]).max(axis=2)
            same, counted = same + int((change[inside] < 1).sum()), counted + int(inside.sum())
    return same, counted


def _cost(spent: dict[str, float]) -> dict[str, float]:
    total = sum(spent.values())
    return {"cost": round(spent.get("occlusion", 0.0) / total, 3)} if total else {}


def real(models: Models, options: argparse.Namespace, tiles: list[np.ndarray]) -> Scores:
    """Real clips as they are, and with drawn covers of several kinds over them."""
    scores = Scores()
    for index, path in enumerate(sorted(options.real.glob("*.mp4"))):
        pictures = np.stack([frame.rgb() for frame in read_frames(path)])
        tall = pictures.shape[1]
        if tall > 800:  # the rest of a tall picture costs memory and tells nothing
            size = (round(pictures.shape[2] * 800 / tall), 800)
            pictures = np.stack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures])
        plain = look(pictures, models, options.occlusion)
        false = judge_clear(plain, scores)
        print(f"real {path.stem}: false alarm {false:.2%}", flush=True)
        tiles += [strip(pictures, plain, None, number) for number in (10, len(pictures) // 2)]
        landmarks = {number: part.landmarks[place] for number, part, place in frames_of(plain)}
        order = sorted(landmarks)
        points = np.stack([landmarks[min(order, key=lambda k: abs(k - n))] for n in range(len(pictures))])
        mouths, sizes = mouth_and_size(points)
        for number, kind in enumerate(REAL_KINDS):
            rng = np.random.default_rng([options.seed, 31, index, number])
            covered, alpha = occlude(pictures, mouths, sizes, rng, kinds=(kind,))
            seen = look(covered, models, options.occlusion)
            frames = judge_covered(seen, alpha, scores, kind)
            mean = float(np.mean([iou for iou, _ in frames])) if frames else float("nan")
            print(f"real {path.stem} {kind}: iou {mean:.3f} over {len(frames)} frames", flush=True)
            if frames:
                tiles.append(strip(covered, seen, alpha, sorted(frames)[len(frames) // 4][1]))
    for kind, values in scores.per_kind.items():
        print(f"real {kind}: iou {np.mean(values):.3f}")
    return scores


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Are occluders found, and left alone?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--clips", type=int, default=40, help="drawn clips; each is also judged without its cover"
    )
    parser.add_argument(
        "--synced", type=int, default=6, help="of them, how many are synced to see what is kept"
    )
    parser.add_argument("--real", type=Path, help="folder of .mp4 clips with nothing in front of the faces")
    parser.add_argument("--occlusion", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--sheet", type=Path, help="picture: crops beside what was found (red) and the truth (green)"
    )
    parser.add_argument(
        "--strip",
        type=Path,
        help="picture: synced clips: as they are, with occlusion off, as asked; and the same without covers",
    )
    options = parser.parse_args()
    models = load_models("compact", "cpu")
    tiles: list[np.ndarray] = []
    strips: list[np.ndarray] = []
    result: dict[str, dict[str, float]] = {}
    if options.clips:
        scores, more = drawn(models, options, tiles, strips)
        result["drawn"] = scores.table() | more
    if options.real:
        result["real"] = real(models, options, tiles).table()
    for name, values in result.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.sheet and tiles:
        save(options.sheet, tiles, 5)
    if options.strip and strips:
        save(options.strip, strips, 2)


def save(path: Path, tiles: list[np.ndarray], across: int) -> None:
    """Write tiles as one picture."""
    tiles = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % across)]
    rows = [np.concatenate(tiles[k : k + across], axis=1) for k in range(0, len(tiles), across)]
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
