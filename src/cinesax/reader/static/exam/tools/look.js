// Looking: drag moves the image; the wheel goes through slices and phases (the stage does that).

export class Look {
  name = "look";
  cursor = "grab";

  constructor(stage) {
    this.stage = stage;
    this.at = null; // where the pointer was, in screen pixels
  }

  down(place, event) {
    this.at = [event.clientX, event.clientY];
  }

  move(place, event) {
    if (!this.at) return;
    this.stage.viewport.panBy(event.clientX - this.at[0], event.clientY - this.at[1]);
    this.at = [event.clientX, event.clientY];
  }

  up() {
    this.at = null;
  }

  cancel() {
    this.at = null;
  }
}
