"""Claim: upscale takes at most 0.85 of the time of a plain loop over the frames around the same network, on the CPU.

    python benchmarks/upscale.py [--size 640x360] [--frames 50] [--network compact|rrdb] [--threads N] [--rounds 3]

The network has the size of realesr-animevideov3 (compact) or RealESRGAN_x4plus (rrdb), and random weights, as loaded by
spandrel. The loop is what a person writes: decode a frame, the whole of it through the network, encode it, the next;
with the same encoder settings, and as many threads. Both are whole processes, from start to finished file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from interleave import race, report, run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

LOOP = """
import sys
sys.path.insert(0, sys.argv[5])
import _torch
_torch.mend_torchvision()
import av, numpy, spandrel, torch
torch.set_num_threads(int(sys.argv[4]))
model = spandrel.ModelLoader("cpu").load_from_file(sys.argv[1]).model.eval()
with torch.inference_mode(), av.open(sys.argv[2]) as source, av.open(sys.argv[3], "w") as target:
    picture = source.streams.video[0]
    stream = target.add_stream("libx264", rate=picture.average_rate, options={"crf": "18", "preset": "medium"})
    stream.width, stream.height, stream.pix_fmt = 4 * picture.width, 4 * picture.height, "yuv420p"
    for frame in source.decode(picture):
        pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].float() / 255
        larger = (model(pixels)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        target.mux(stream.encode(av.VideoFrame.from_ndarray(numpy.ascontiguousarray(larger), format="rgb24")))
    target.mux(stream.encode(None))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--network", choices=("compact", "rrdb"), default="compact")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


def compare(args: argparse.Namespace, folder: Path) -> None:
    from tests import media

    width, height = map(int, args.size.split("x"))
    clip = media.clip(folder / "clip.mp4", args.frames / media.RATE, (width, height), sound=False)
    model = network(args.network, folder / "model.pth")
    ours, theirs = folder / "ours.mp4", folder / "theirs.mp4"
    scripts, threads = ROOT / "remote_scripts", str(args.threads)
    words = ["--model", model, "--threads", threads, "--overwrite", "-q"]
    timing = race(
        lambda: run(sys.executable, "-m", "services.upscale", clip, "-o", ours, "--no-cache", *words, cwd=ROOT),
        lambda: run(sys.executable, "-c", LOOP, model, clip, theirs, threads, scripts),
        args.rounds,
    )
    claim = f"upscale {args.frames} frames of {args.size}, {args.network}, {threads} threads, versus a plain loop"
    report(
        claim,
        timing,
        f"load {os.getloadavg()[0]:.1f}; size {ours.stat().st_size / theirs.stat().st_size:.3f} of"
        f" theirs; PSNR between the two {psnr(ours, theirs)} dB",
    )


def network(kind: str, path: Path) -> Path:
    """Write a checkpoint of the published size. Another process does: torch need not stay in this one."""
    what = "rrdb(path, 23, 64)" if kind == "rrdb" else "compact(path, 16, 64)"
    code = f"from pathlib import Path; from tests.checkpoints.esrgan import *; path = Path({str(path)!r}); {what}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return path


def psnr(one: Path, other: Path) -> str:
    from tests import media

    said = media.ffmpeg("-i", one, "-i", other, "-lavfi", "psnr", "-f", "null", "-")
    return said.rpartition("average:")[2].split()[0]


if __name__ == "__main__":
    main()
