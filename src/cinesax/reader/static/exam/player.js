// Plays the phases at the speed of the heart, from the times of the exam.

const ASSUMED_BEAT_MS = 900;

export class Player {
  constructor(state) {
    this.state = state;
    this.speed = 1;
    const { times_ms: times, phases } = state.exam;
    const beat = times && phases > 1 ? ((times[phases - 1] - times[0]) * phases) / (phases - 1) : ASSUMED_BEAT_MS;
    this.step = Math.max(10, beat / phases);
    state.on("draft", () => state.draft && this.stop());
  }

  toggle() {
    if (this.state.playing) this.stop();
    else this.start();
  }

  start() {
    if (this.state.playing || this.state.exam.phases < 2) return;
    this.state.set("playing", { playing: true });
    this.last = performance.now();
    requestAnimationFrame((now) => this.#tick(now));
  }

  stop() {
    if (this.state.playing) this.state.set("playing", { playing: false });
  }

  #tick(now) {
    if (!this.state.playing) return;
    const step = this.step / this.speed;
    const steps = Math.floor((now - this.last) / step);
    if (steps > 0) {
      // A window that was hidden for a minute must not play a minute of phases at once.
      this.last = steps > 5 ? now : this.last + steps * step;
      this.state.go({ phase: this.state.phase + Math.min(steps, 5) });
    }
    requestAnimationFrame((next) => this.#tick(next));
  }
}
