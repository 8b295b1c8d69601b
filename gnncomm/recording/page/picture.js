// What an environment of another library drew of itself. Offers class Picture: resize(width, height), draw(step).

class Picture {
  constructor(canvas, recording) {
    this.canvas = canvas;
    const { values, shape } = recording.arrays.get("pictures");
    [this.values, this.states, this.height, this.width] = [values, ...shape];
    [canvas.width, canvas.height] = [this.width, this.height];
    this.drawn = -1;
  }

  resize(width, height) {
    const scale = Math.min(width / this.width, height / this.height);
    this.canvas.style.width = `${Math.round(this.width * scale)}px`;
    this.canvas.style.height = `${Math.round(this.height * scale)}px`;
  }

  draw(step) {
    const state = Math.min(step, this.states - 1);
    if (state === this.drawn) return;
    this.drawn = state;
    const paint = this.canvas.getContext("2d");
    const image = paint.createImageData(this.width, this.height);
    const points = this.width * this.height;
    const start = state * points * 3;
    for (let point = 0; point < points; point++) {
      for (let part = 0; part < 3; part++) image.data[4 * point + part] = this.values[start + 3 * point + part];
      image.data[4 * point + 3] = 255;
    }
    paint.putImageData(image, 0, 0);
  }
}
