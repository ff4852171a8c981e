"""Render ``handheld.mp4``: a walk through a birch wood at sunrise, filmed by an unsteady hand.

    python examples/make_sample.py

Every pixel and sound is computed here from one seed, so the clip is free to share. The world is a ground plane
and textured quads (metres; x right, y down, z ahead), seen by a pinhole camera that walks, pans, shakes.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]  # BGR or premultiplied BGRA where it is a picture
OUTPUT = Path(__file__).with_name("handheld.mp4")
SEED, WIDTH, HEIGHT, FPS, SECONDS, RATE = 4, 640, 360, 30, 7, 48_000
CLOCK, OPEN = 180, 3  # simulated instants a second; of the six in a frame, those with the shutter open
FOCAL, NEAR, EYE = 560.0, 0.1, 1.6  # pixels, metres, metres
CADENCE, SPEED = 1.9, 1.1  # steps and metres a second
HAZE, REACH = np.array([186, 216, 240], np.float32), 30.0  # BGR, and the metres over which it takes 1 - 1/e
DENSITY, ACROSS, AHEAD = 96, 24, 44  # texture pixels a metre; metres of ground, the path along its middle
PIXELS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
RAYS = np.linalg.inv(PIXELS) @ np.reshape(np.meshgrid(range(WIDTH), range(HEIGHT), 1), (3, -1))


class Quad(NamedTuple):
    """A rectangle standing on the line from ``foot`` to ``foot + along``, with a pyramid of pictures on it."""

    foot: ArrayLike
    along: tuple[float, float, float]
    height: float
    texture: list[Array]


def noise(rng: Generator, count: int, rate: float, low: float, high: float, slope: float = 0) -> Array:
    """``count`` samples of unit variance between two frequencies in hertz, amplitude falling as f^-slope."""
    hertz = np.fft.rfftfreq(count, 1 / rate)
    gain = ((hertz >= low) & (hertz <= high)) * np.maximum(hertz, low) ** -slope
    samples = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) * gain, count)
    return np.asarray(samples / samples.std())


def clouds(rng: Generator, size: tuple[int, int], cell: int, stretch: int = 1) -> Array:
    """Fractal noise in about -1..1, (h, w, 1): octaves of random grids, the first ``cell`` pixels high."""
    total = np.zeros(size, np.float32)
    for octave in range(cell.bit_length() - 1):
        cells = size[0] // (cell >> octave) + 2, size[1] // (stretch * cell >> octave) + 2
        grid = rng.uniform(-1, 1, cells).astype(np.float32) * 0.5 * 0.6**octave
        total += cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC).reshape(size)
    return total[..., None]


def painted(colour: Array, cover: Array | float = 1.0) -> Array:
    """A premultiplied BGRA picture from its colours (h, w, 3) and its opacity (h, w, 1), 0..1."""
    return (np.dstack([colour.clip(0, 255), np.full(colour.shape[:2], 255)]) * cover).astype(np.uint8)


def pyramid(image: Array, down: float = 0.5) -> list[Array]:
    """The picture and three reductions, each half as wide as the one before, and ``down`` times as high."""
    return [cv2.resize(image, None, fx=0.5**k, fy=down**k, interpolation=cv2.INTER_AREA) for k in range(4)]


def strew_leaves(image: Array, rng: Generator, points: Array, light: Array) -> None:
    """Paint an autumn leaf, some 6 cm long, at each of ``points`` (n, 2), ``light`` (n,) times as bright."""
    palette = np.array([(50, 165, 235), (40, 130, 220), (75, 195, 240), (45, 95, 190), (80, 165, 170)])
    colours = np.minimum(palette[rng.integers(0, 5, len(points))] * light[:, None], 255).tolist()
    for point, colour in zip((points * 8).astype(int).tolist(), colours, strict=True):
        axes, turn = (rng.uniform(0.6, 1.1) * np.array([26, 14])).astype(int).tolist(), rng.uniform(0, 180)
        cv2.ellipse(image, point, axes, turn, 0, 360, (*colour, 255), -1, cv2.LINE_AA, 3)


def birch(rng: Generator) -> list[Array]:
    """A birch, 4 by 8 metres: white bark with dark scars, lit from the left, and a crown of golden leaves."""
    height, width = size = 8 * DENSITY, 4 * DENSITY
    y, x = np.indices(size, np.float32)[..., None]
    rise = 1 - y / height
    middle = width / 2 + rng.uniform(-40, 40) * rise**2 + 9 * np.sin(rise * 5 + rng.uniform(0, 6))
    half = DENSITY * rng.uniform(0.09, 0.14) * (1.15 - rise + 0.6 * np.exp(-rise * 30))
    side = (x - middle) / half
    scars = clouds(rng, size, 12, 4) + 0.5 * clouds(rng, size, 96) - 0.4 * np.exp(-rise * 9)
    bark = np.where(scars < -0.38, 0.35, 1.0) * (0.72 - 0.33 * side) * (1 + 0.12 * clouds(rng, size, 8))
    tree = painted(bark * [205, 222, 232], np.clip((1 - np.abs(side)) * half, 0, 1))
    for bough in rng.normal([width / 2, 0], [width * 0.2, 1], (80, 2)):
        bough[1], offset = rng.triangular(0, 0.25, 0.47) * height, rng.normal(0, [26, 17], (22, 2))
        strew_leaves(tree, rng, bough + offset, (0.95 - offset @ [0.006, 0.010]) * rng.uniform(0.75, 1.1))
    return pyramid(tree)


def grass(rng: Generator) -> list[Array]:
    """A tuft of dry grass, 1.2 by 0.6 metres."""
    tuft = np.zeros((58, 115, 4), np.uint8)
    for foot, lean, top in rng.normal([57, 0, 24], [12, 19, 11], (90, 3)):
        blade = np.array([[foot, 58], [foot + 0.3 * lean, 29 + top / 2], [foot + lean, top]], np.int32)
        colour = (rng.uniform(0.45, 1.25) * np.array([60, 140, 160])).tolist()
        cv2.polylines(tuft, [blade], False, (*colour, 255), 1, cv2.LINE_AA)
    return pyramid(tuft)


def sunrise(rng: Generator) -> list[Array]:
    """The sky with a low sun and thin cloud, and a wooded ridge; the horizon is at 3/4 of the height."""
    size = 768, 2048
    y, x = np.indices(size, np.float32)[..., None]
    up, glow = np.clip(1 - y / 576, 0, 1), np.exp(-np.hypot(x - 985, y - 500) / 130)
    veil = np.clip(clouds(rng, size, 128, 3) + 0.15, 0, 1)
    view = (1 - up) * HAZE + up * [215, 165, 110] + veil * [30, 55, 80] + glow * [60, 95, 120]
    ridge = np.clip(y - 545 + 50 * clouds(rng, (size[1], 1), 512)[:, 0], 0, 1)
    view += ridge * ((1 + 0.06 * clouds(rng, size, 16)) * [200, 204, 204] - view)
    return pyramid(painted(view))


def ground(rng: Generator, trees: Array) -> list[Array]:
    """Path, forest floor and the trees' long shadows; each level is half as fine across, a quarter ahead."""
    size = AHEAD * DENSITY, ACROSS * DENSITY
    off = np.abs(np.linspace(-12, 12, size[1])[:, None] + 0.25 * clouds(rng, size, 512)) - 1.0
    path = 1 / (1 + np.exp(off / 0.12))
    earth = (1 - path) * [62, 98, 112] + path * [130, 160, 178]
    floor = painted(earth * (1 + 0.2 * clouds(rng, size, 256) + 0.25 * clouds(rng, size, 8)))
    strew_leaves(floor, rng, rng.uniform(0, size[::-1], (24_000, 2)), rng.uniform(0.5, 1.05, 24_000))
    shadow = np.ones(size, np.float32)
    for x, y in ((trees + np.array([ACROSS / 2, 0])) * DENSITY).astype(int):
        cv2.line(shadow, (x, y), (x + 230, y - 670), 0.58, 20, cv2.LINE_AA)
    lit = floor[..., :3] * cv2.GaussianBlur(shadow, (0, 0), 5)[..., None]
    return pyramid(lit.astype(np.uint8), 0.25)


def scenery(rng: Generator, trees: Array) -> list[Quad]:
    """Birches, grass, and a fence along the right of the path, farthest first."""
    birches, tufts = [birch(rng) for _ in range(6)], [grass(rng) for _ in range(4)]
    wood = pyramid(painted((1 + 0.35 * clouds(rng, (16, 192), 16, 8)) * [105, 122, 135]))
    quads = [Quad((x - 2, 0.05, z), (4, 0, 0), 8, birches[i % 6]) for i, (x, z) in enumerate(trees)]
    tussocks = [spot for spot in rng.uniform([-10, 3], [9, 30], (260, 2)) if abs(spot[0] + 0.6) > 1.2]
    quads += [Quad((x, 0.03, z), (1.2, 0, 0), 0.6, tufts[i % 4]) for i, (x, z) in enumerate(tussocks)]
    for z in np.arange(1.0, 37, 2.0):
        quads += [Quad((1.68, y, z), (0, 0, 2), 0.1, wood) for y in (-0.85, -0.4)]
        quads.append(Quad((1.63, 0, z), (0.14, 0, 0), 1.1, wood))
    return sorted(quads, key=lambda quad: -np.add(quad.foot, quad.along)[2])


def draw(canvas: Array, quad: Quad, place: Array, rotation: Array, reach: float = REACH) -> None:
    """Composite a quad over the canvas, in place; one that touches the lens is left out."""
    down = np.array([0, quad.height, 0])
    plane = PIXELS @ rotation @ np.column_stack([quad.along, down, quad.foot - down - place])
    corners = plane @ [[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    points = corners[:2] / np.maximum(corners[2], NEAR)
    left, top = np.maximum(points.min(1), 0).astype(int)
    right, bottom = np.minimum(points.max(1) + 2, [WIDTH, HEIGHT]).astype(int)
    if left >= right or top >= bottom or corners[2].min() < NEAR:
        return
    shrink = np.log2(max(1, quad.texture[0].shape[0] / np.ptp(points[1])))
    texture = quad.texture[min(round(shrink), len(quad.texture) - 1)]
    window = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    onto = window @ plane @ np.diag([1 / texture.shape[1], 1 / texture.shape[0], 1])
    patch = cv2.warpPerspective(texture, onto, (int(right - left), int(bottom - top))).astype(np.float32)
    clear, alpha = np.float32(np.exp(-corners[2].mean() / reach)), patch[..., 3:] / 255
    under = canvas[top:bottom, left:right]
    under += alpha * ((1 - clear) * HAZE - under) + clear * patch[..., :3]


def draw_ground(canvas: Array, levels: list[Array], place: Array, rotation: Array) -> None:
    """Cast a ray through every pixel below the horizon; blend the two levels that suit its distance."""
    x, y, z = (rotation.T @ RAYS).reshape(3, HEIGHT, WIDTH).astype(np.float32)
    far = np.float32(-place[1]) / np.maximum(y, 0.02)
    u, v = np.float32(place[0]) + far * x, np.float32(place[2]) + far * z
    wanted, colour = np.clip(np.log2(far / 5), 0, len(levels) - 1), np.zeros_like(canvas)
    for k, level in enumerate(levels):
        u_k, v_k = (u / ACROSS + 0.5) * level.shape[1], v / AHEAD * level.shape[0]
        sample = cv2.remap(level, u_k, v_k, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        colour += np.maximum(1 - np.abs(wanted - k), 0)[..., None] * sample
    clear, cover = np.exp(-far / REACH)[..., None], np.clip(y * FOCAL, 0, 1)[..., None]
    canvas += cover * (clear * colour + (1 - clear) * HAZE - canvas)


def walk(rng: Generator, steps: Array) -> Iterator[tuple[Array, Array]]:
    """The lens's place (3,) and world-to-lens rotation (3, 3) at every instant: a walk, a slow pan, and shake.

    Shake is drift of aim, 1/f below 1.5 Hz; gait, a nod and bob each step, a sway, yaw and roll every second one
    (Imai et al., Exp Brain Res 2001); tremor, which peaks in 6-12 Hz (Lakie et al., J Physiol 2015).
    """
    count, nod, swing = len(steps), 2 * np.pi * steps, np.pi * steps
    drift = np.stack([a * noise(rng, count, CLOCK, 0.1, 1.5, 1) for a in (0.55, 0.7, 0.4)], 1)
    tremor = np.stack([a * noise(rng, count, CLOCK, 6, 12) for a in (0.055, 0.055, 0.04)], 1)
    gait = np.stack([0.5 * np.cos(nod), 0.6 * np.sin(swing), 0.8 * np.cos(swing)], 1)
    t = np.linspace(0, 1, count)
    aim = np.stack([0 * t - 1.6, 9 * t * t * (3 - 2 * t) - 5, 0 * t], 1)
    x, y = 0.25 * np.sin(3 * t) + 0.025 * np.sin(swing), 0.022 * np.cos(nod) - EYE
    for place, turn in zip(np.stack([x, y, SPEED * SECONDS * t], 1), aim + gait + drift + tremor, strict=True):
        yield place, cv2.Rodrigues(np.radians(turn))[0]


def film(rng: Generator, steps: Array) -> Iterator[Array]:
    """The frames, (HEIGHT, WIDTH, 3) BGR: each the mean of the instants its shutter was open."""
    trees = rng.uniform([2, 4], [16, AHEAD], (170, 2)) * rng.choice([[-1, 1], [1, 1]], 170)
    sky, floor, quads = sunrise(rng), ground(rng, trees), scenery(rng, trees)
    light = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for instant, (place, rotation) in enumerate(walk(rng, steps)):
        if instant % (CLOCK // FPS) < OPEN:
            canvas = np.zeros_like(light)
            draw(canvas, Quad(np.add(place, [-1024, 192, 900]), (2048, 0, 0), 768, sky), place, rotation, np.inf)
            draw_ground(canvas, floor, place, rotation)
            for quad in quads:
                draw(canvas, quad, place, rotation)
            light += canvas / OPEN
        elif instant % (CLOCK // FPS) == OPEN:
            yield light.clip(0, 255).astype(np.uint8)
            light[:] = 0


def ambience(rng: Generator, steps: Array) -> Array:
    """Wind in the leaves and a crunch under every step, (samples, 2) int16."""
    count, length = SECONDS * RATE, RATE // 4
    gusts, t = 1 + 0.25 * noise(rng, count, RATE, 0.1, 0.8, 1), np.arange(length) / RATE
    sound = np.stack([0.028 * gusts * noise(rng, count, RATE, 80, 12_000, 0.8) for _ in range(2)], 1)
    envelope = 0.15 * (1 - np.exp(-t / 0.008)) * np.exp(-t / 0.06)
    for foot, instant in enumerate(np.flatnonzero(np.diff(np.floor(steps)))):
        crunch = noise(rng, length, RATE, 300, 5000, 0.6) * np.abs(noise(rng, length, RATE, 1, 90)) * envelope
        heard = sound[(instant + 1) * RATE // CLOCK :][:length]
        heard += (crunch[:, None] * np.roll([0.4, 0.6], foot))[: len(heard)]
    return (np.tanh(sound) * 32767).astype(np.int16)


def encode(frames: Iterator[Array], sound: Array, output: Path) -> None:
    """Write H.264 and AAC, tagged BT.709: the same bytes on any number of cores (not on every kind of CPU)."""
    options = (
        f"-f rawvideo -pix_fmt bgr24 -s {WIDTH}x{HEIGHT} -r {FPS} -i - -f s16le -ar {RATE} -ac 2 -i sound.raw "
        "-v error -vf scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+bitexact,format=yuv420p "
        "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv "
        "-c:v libx264 -preset veryslow -crf 26 -threads 1 -x264-params cpu-independent=1 "
        "-c:a aac -b:a 96k -flags:a +bitexact -fflags +bitexact -movflags +faststart clip.mp4"
    )
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        sound.tofile(f"{folder}/sound.raw")
        command, pixels = [imageio_ffmpeg.get_ffmpeg_exe(), *options.split()], b"".join(map(bytes, frames))
        subprocess.run(command, input=pixels, cwd=folder, check=True)
        Path(folder, "clip.mp4").replace(output)


if __name__ == "__main__":
    view, gait, microphone = np.random.default_rng(SEED).spawn(3)
    steps = np.arange(SECONDS * CLOCK) * CADENCE / CLOCK + 0.03 * noise(gait, SECONDS * CLOCK, CLOCK, 0.1, 1)
    encode(film(view, steps), ambience(microphone, steps), OUTPUT)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1000:.0f} kB")
