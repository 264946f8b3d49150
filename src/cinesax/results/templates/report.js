"use strict";
(() => {
  const data = JSON.parse(document.getElementById("movie").textContent);
  const tiles = [...document.querySelectorAll(".montage .frame")].map((frame, index) => ({
    sprite: frame.querySelector(".sprite"),
    paths: Object.entries(data.lines[index]).map(([key, lines]) => [frame.querySelector("path." + key), lines]),
    file: frame.querySelector(".file"),
    columns: Number(frame.dataset.columns),
    rows: Number(frame.dataset.rows),
    index,
  }));
  const slider = document.getElementById("phase");
  const readout = document.getElementById("readout");
  const button = document.getElementById("play");
  const cursor = document.getElementById("cursor");
  const speed = document.getElementById("speed");
  const percent = (at, count) => (count > 1 ? (100 * at) / (count - 1) : 0) + "%";

  function show(phase) {
    for (const tile of tiles) {
      const column = phase % tile.columns;
      const row = Math.floor(phase / tile.columns);
      tile.sprite.style.backgroundPosition = percent(column, tile.columns) + " " + percent(row, tile.rows);
      tile.file.textContent = "file " + data.files[tile.index][phase];
      for (const [path, lines] of tile.paths) path.setAttribute("d", lines[phase]);
    }
    slider.value = phase;
    const name = phase === data.ed ? " (ED)" : phase === data.es ? " (ES)" : "";
    const parts = ["phase " + phase + name];
    if (data.times) parts.push(Math.round(data.times[phase]) + " ms");
    if (!data.known[phase]) parts.push("not segmented");
    else if (data.volumes) parts.push(Math.round(data.volumes[phase]) + " ml");
    readout.textContent = parts.join(" · ");
    if (cursor) {
      const x = data.xs[phase];
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
    }
  }

  let timer = null;
  function pause() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }
  function play() {
    clearInterval(timer);
    const wait = data.beat / data.phases / Number(speed.value);
    timer = setInterval(() => show((Number(slider.value) + 1) % data.phases), wait);
    button.textContent = "Pause";
  }
  button.addEventListener("click", () => (timer === null ? play() : pause()));
  speed.addEventListener("change", () => timer !== null && play());
  slider.addEventListener("input", () => {
    pause();
    show(Number(slider.value));
  });
  for (const box of document.querySelectorAll(".toggle")) {
    box.addEventListener("change", () => {
      document.body.classList.toggle("no-contours", !box.checked);
      for (const other of document.querySelectorAll(".toggle")) other.checked = box.checked;
    });
  }
  show(Number(slider.value));
})();
