// Two players as one: the second follows the first, to within a frame or so.

const TICK = 100; // milliseconds between looks
const NEAR = 0.015; // seconds apart that nobody sees
const FAR = 0.25; // seconds apart that are jumped
const MOST = 0.15; // of its speed that the follower is slowed down or sped up by, to come near

const READY = 3; // HAVE_FUTURE_DATA

/** `leader` and `follower` in step. `loop` and `rate` may be set at any time; `onchange` is called when it starts or stops. */
export class InStep {
  constructor(leader, follower, onchange = () => {}) {
    Object.assign(this, { leader, follower, onchange, loop: false, playing: false, base: 1 });
    this.both = [leader, follower];
    this.timer = setInterval(() => this.look(), TICK);
  }

  /** The second both are at. */
  get time() {
    return this.leader.currentTime;
  }

  /** Seconds there are; 0 while that is not known. */
  get seconds() {
    return Number.isFinite(this.leader.duration) ? this.leader.duration : 0;
  }

  set rate(rate) {
    this.base = rate;
    for (const one of this.both) one.playbackRate = rate;
  }

  play() {
    if (this.leader.ended) this.seek(0);
    this.become(true);
    this.look();
  }

  pause() {
    for (const one of this.both) one.pause();
    this.become(false);
    if (this.follower.currentTime !== this.time) this.follower.currentTime = this.time;
  }

  seek(seconds) {
    const to = Math.min(Math.max(0, seconds), this.seconds);
    for (const one of this.both) one.currentTime = to;
  }

  /** To the frame so many on, at `fps`: to its middle, which is the same frame in both. */
  step(frames, fps) {
    this.pause();
    this.seek((Math.floor(this.time * fps + 1e-3) + frames + 0.5) / fps);
  }

  close() {
    clearInterval(this.timer);
    for (const one of this.both) one.pause();
  }

  become(playing) {
    const changed = this.playing !== playing;
    this.playing = playing;
    if (changed) this.onchange(playing);
  }

  look() {
    if (!this.playing) return;
    if (this.leader.ended) {
      if (!this.loop) return this.pause();
      this.seek(0);
    }
    keep(this.leader, this.follower);
    keep(this.follower, this.leader);
    this.approach();
  }

  approach() {
    const apart = this.follower.currentTime - this.time;
    if (!isReady(this.follower) || this.follower.ended || this.leader.seeking) return;
    if (Math.abs(apart) > FAR) this.follower.currentTime = this.time;
    const change = Math.abs(apart) < NEAR ? 0 : Math.min(MOST, Math.max(-MOST, 2 * apart));
    this.follower.playbackRate = this.base * (1 - change);
  }
}

const isReady = (one) => one.ended || (one.readyState >= READY && !one.seeking);

/** Has one play, or wait for the other. One that has nothing to show goes on: some browsers load nothing until then. */
function keep(one, other) {
  const runs = !isReady(one) || isReady(other);
  if (!runs) one.pause();
  else if (one.paused && !one.ended) one.play().catch(() => {}); // a pause that comes before it began: no failure
}
