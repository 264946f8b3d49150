// What the page remembers, and listeners for changes.

/** Listeners by topic. */
export class Topics {
  #listeners = new Map();

  on(topics, listener) {
    for (const topic of topics.split(" ")) {
      if (!this.#listeners.has(topic)) this.#listeners.set(topic, new Set());
      this.#listeners.get(topic).add(listener);
    }
  }

  emit(topic, detail) {
    for (const listener of this.#listeners.get(topic) ?? []) listener(detail);
  }
}

/** A text that survives a reload, or null if the browser does not keep it (private windows may refuse). */
export function remembered(name) {
  try {
    return localStorage.getItem(`cinesax.${name}`);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`cinesax.${name}`, value);
  } catch {
    // Nothing depends on it.
  }
}

/** Call a function at most once for each frame of the screen, with the last arguments. */
export function oncePerFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}
