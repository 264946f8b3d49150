// Where the image lies on the canvas: zoom and pan, and the way between pixels of the image and of the screen.

const MOST_ZOOM = 24;

/**
 * A viewport of one image.
 *
 * Image coordinates are those of contours: whole numbers at pixel centres. The image therefore reaches from -0.5 to
 * columns - 0.5, and a point (x, y) lies at ((x + 0.5) * scale + left, (y + 0.5) * scale + top) on the canvas.
 */
export class Viewport {
  constructor() {
    this.size = { width: 1, height: 1 }; // of the canvas, in CSS pixels
    this.image = { columns: 1, rows: 1, aspect: 1 }; // aspect: height of a pixel over its width
    this.zoom = 1; // 1 shows the whole image
    this.centre = [0, 0]; // the image point in the middle of the canvas
  }

  setImage(columns, rows, aspect = 1) {
    this.image = { columns, rows, aspect };
    this.reset();
  }

  setSize(width, height) {
    this.size = { width, height };
  }

  reset() {
    this.zoom = 1;
    this.centre = [(this.image.columns - 1) / 2, (this.image.rows - 1) / 2];
  }

  /** Screen pixels for one column of the image. */
  get scale() {
    const { columns, rows, aspect } = this.image;
    return Math.min(this.size.width / columns, this.size.height / (rows * aspect)) * this.zoom;
  }

  /** {scaleX, scaleY, left, top}: what drawImage and contours need. */
  get transform() {
    const scaleX = this.scale;
    const scaleY = scaleX * this.image.aspect;
    return {
      scaleX,
      scaleY,
      left: this.size.width / 2 - (this.centre[0] + 0.5) * scaleX,
      top: this.size.height / 2 - (this.centre[1] + 0.5) * scaleY,
    };
  }

  /** The part of the image that is on the canvas, {left, top, right, bottom} in image coordinates. */
  get visible() {
    const [left, top] = this.toImage([0, 0]);
    const [right, bottom] = this.toImage([this.size.width, this.size.height]);
    return { left, top, right, bottom };
  }

  toScreen([x, y]) {
    const { scaleX, scaleY, left, top } = this.transform;
    return [(x + 0.5) * scaleX + left, (y + 0.5) * scaleY + top];
  }

  toImage([x, y]) {
    const { scaleX, scaleY, left, top } = this.transform;
    return [(x - left) / scaleX - 0.5, (y - top) / scaleY - 0.5];
  }

  /** Zoom by a factor, with the image point under a place of the screen staying there. */
  zoomAt(factor, place) {
    const before = this.toImage(place);
    this.zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const after = this.toImage(place);
    this.#moveTo([this.centre[0] + before[0] - after[0], this.centre[1] + before[1] - after[1]]);
  }

  panBy(dx, dy) {
    const { scaleX, scaleY } = this.transform;
    this.#moveTo([this.centre[0] - dx / scaleX, this.centre[1] - dy / scaleY]);
  }

  /** Show a box of the image (the heart), {left, top, right, bottom} in image coordinates. */
  show(box) {
    const { aspect } = this.image;
    const wanted = Math.min(this.size.width / (box.right - box.left), this.size.height / ((box.bottom - box.top) * aspect));
    this.zoom = Math.min(MOST_ZOOM, Math.max(1, (wanted * this.zoom) / this.scale));
    this.#moveTo([(box.left + box.right) / 2, (box.top + box.bottom) / 2]);
  }

  /** The middle of the screen stays on the image: an image that is out of sight cannot be found again. */
  #moveTo([x, y]) {
    const { columns, rows } = this.image;
    this.centre = [Math.min(columns - 0.5, Math.max(-0.5, x)), Math.min(rows - 0.5, Math.max(-0.5, y))];
  }
}
