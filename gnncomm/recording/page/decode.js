// The numbers of the page. Offers readWorlds() -> Promise of [{head, arrays: name -> {values, shape}}].

const INTEGERS = { u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, i4: Int32Array };

async function readWorlds() {
  if (!("DecompressionStream" in globalThis)) {
    throw new Error("This page needs a browser from 2023 or later (DecompressionStream).");
  }
  const text = atob(document.getElementById("data").textContent.trim());
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  let at = 4 + new DataView(bytes.buffer).getUint32(0, true);
  const { worlds } = JSON.parse(new TextDecoder().decode(await inflate(bytes.subarray(4, at))));
  for (const head of worlds) {
    head.arrays = new Map(
      await Promise.all(
        head.arrays.map(async ([name, spec]) => {
          const stream = bytes.subarray(at, (at += spec.bytes));
          return [name, { values: unpack(spec, await inflate(stream)), shape: spec.shape }];
        }),
      ),
    );
  }
  return worlds.map(({ arrays, ...head }) => ({ head, arrays }));
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function unpack(spec, raw) {
  const count = spec.shape.reduce((product, size) => product * size, 1);
  if (spec.kind === "bit") return Uint8Array.from({ length: count }, (_, i) => (raw[i >> 3] >> (i & 7)) & 1);
  if (spec.kind === "f2") return halves(joined(raw, new Uint16Array(count), 2));
  if (spec.kind === "f4") return new Float32Array(joined(raw, new Uint32Array(count), 4).buffer);
  const values = joined(raw, new INTEGERS[spec.kind](count), INTEGERS[spec.kind].BYTES_PER_ELEMENT);
  if (spec.steps) {
    const row = count / Math.max(spec.shape[0], 1);
    for (let i = row; i < count; i++) values[i] += values[i - row];
  }
  const { scale = 1, offset = 0 } = spec;
  return scale === 1 && offset === 0 ? values : Float32Array.from(values, (value) => value * scale + offset);
}

// Bytes stand in planes: all lowest ones first.
function joined(raw, values, size) {
  for (let plane = 0; plane < size; plane++) {
    const start = plane * values.length;
    for (let i = 0; i < values.length; i++) values[i] |= raw[start + i] << (8 * plane);
  }
  return values;
}

function halves(codes) {
  const table = new Float32Array(65536);
  for (let code = 0; code < 65536; code++) {
    const sign = code & 0x8000 ? -1 : 1;
    const exponent = (code >> 10) & 31;
    const fraction = code & 1023;
    if (exponent === 31) table[code] = fraction ? NaN : sign * Infinity;
    else if (exponent === 0) table[code] = sign * fraction * 2 ** -24;
    else table[code] = sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
  }
  return Float32Array.from(codes, (code) => table[code]);
}
