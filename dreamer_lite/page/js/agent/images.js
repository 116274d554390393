// Image networks, for one image at a time. The same as dreamer_lite/agent/images.py.
// A grid is {h, w, c, data}, its data row by row, the channels of a cell beside each other.
import { addProduct, BlockLinear, Layer, Linear, list, Norm } from "./layers.js";
import { sigmoid, silu } from "./transforms.js";

export function grid(h, w, c, data = new Float32Array(h * w * c)) {
  return { h, w, c, data };
}

/** The layer's function of each cell's channels. */
function perCell(x, call) {
  const cells = [];
  for (let i = 0; i < x.h * x.w; i++) cells.push(call(x.data.subarray(i * x.c, (i + 1) * x.c)));
  const y = grid(x.h, x.w, cells[0].length);
  cells.forEach((cell, i) => y.data.set(cell, i * y.c));
  return y;
}

function mapped(x, data) {
  return grid(x.h, x.w, x.c, data);
}

/** (h, w, c) -> (h/side, w/side, side*side*c). */
export function toPatches(x, side) {
  const y = grid(x.h / side, x.w / side, side * side * x.c);
  copyPatches(x, side, (big, small) => (y.data[small] = x.data[big]));
  return y;
}

/** The inverse of `toPatches`. */
export function fromPatches(x, side) {
  const y = grid(x.h * side, x.w * side, x.c / side ** 2);
  copyPatches(y, side, (big, small) => (y.data[big] = x.data[small]));
  return y;
}

/** Calls copy(place in the image, place in its patches) for each number of an image of this shape. */
function copyPatches({ h, w, c }, side, copy) {
  for (let row = 0; row < h; row++) {
    for (let column = 0; column < w; column++) {
      const patch = Math.floor(row / side) * (w / side) + Math.floor(column / side);
      const inside = (row % side) * side + (column % side);
      for (let k = 0; k < c; k++) {
        copy((row * w + column) * c + k, (patch * side * side + inside) * c + k);
      }
    }
  }
}

/** Same-size convolution with stride 1. */
export class Conv {
  constructor({ kernel, bias }) {
    this.kernel = kernel; // (k, k, inputs, outputs)
    this.bias = bias;
  }

  call(x) {
    const [size, , inputs, outputs] = this.kernel.shape;
    const before = Math.floor((size - 1) / 2);
    const y = grid(x.h, x.w, outputs);
    for (let row = 0; row < x.h; row++) {
      for (let column = 0; column < x.w; column++) {
        const to = (row * x.w + column) * outputs;
        y.data.set(this.bias, to);
        for (let i = 0; i < size * size; i++) {
          const r = row + Math.floor(i / size) - before;
          const c = column + (i % size) - before;
          if (r < 0 || r >= x.h || c < 0 || c >= x.w) continue;
          const from = (r * x.w + c) * inputs;
          const cell = x.data.subarray(from, from + inputs);
          addProduct(cell, this.kernel, outputs, y.data, i * inputs * outputs, to);
        }
      }
    }
    return y;
  }
}

/** Largest of each 2x2 square. */
export function maxPool(x) {
  const y = grid(x.h / 2, x.w / 2, x.c);
  y.data.fill(-Infinity);
  eachOfSquares(x, (big, small) => (y.data[small] = Math.max(y.data[small], x.data[big])));
  return y;
}

/** Each cell repeated as a 2x2 square. */
export function upsample(x) {
  const y = grid(x.h * 2, x.w * 2, x.c);
  eachOfSquares(y, (big, small) => (y.data[big] = x.data[small]));
  return y;
}

function eachOfSquares({ h, w, c }, visit) {
  for (let row = 0; row < h; row++) {
    for (let column = 0; column < w; column++) {
      const cell = (row >> 1) * (w / 2) + (column >> 1);
      for (let k = 0; k < c; k++) visit((row * w + column) * c + k, cell * c + k);
    }
  }
}

/** Per stage a convolution, 2x2 max-pool, RMSNorm, SiLU; the result is flat. */
export class ConvEncoder {
  constructor({ convs, norms }) {
    this.convs = list(convs).map((conv) => new Conv(conv));
    this.norms = list(norms).map((norm) => new Norm(norm));
  }

  call(x) {
    this.convs.forEach((conv, i) => {
      const y = maxPool(conv.call(x));
      x = mapped(y, this.norms[i].call(y.data).map(silu));
    });
    return x.data;
  }
}

/** Per stage, each patch of k x k cells becomes one cell by a layer; the result is flat. */
export class PatchEncoder {
  constructor({ layers }, config) {
    this.side = config.kernel;
    this.layers = list(layers).map((layer) => new Layer(layer));
  }

  call(x) {
    for (const layer of this.layers) {
      x = perCell(toPatches(x, this.side), (cell) => layer.call(cell));
    }
    return x.data;
  }
}

/** A state to the smallest grid of a decoder: a map of h and a map of z, added. */
class StartGrid {
  constructor(params, [height, width], config) {
    const side = config.image_net === "patch" ? config.kernel : 2;
    const shrinkage = side ** config.multipliers.length;
    this.h = height / shrinkage;
    this.w = width / shrinkage;
    this.channels = config.depth * config.multipliers.at(-1);
    this.blocks = params.from_deter.kernel.shape[0];
    this.fromDeter = new BlockLinear(params.from_deter);
    this.stochLayer = new Layer(params.stoch_layer);
    this.fromStoch = new Linear(params.from_stoch);
    this.norm = new Norm(params.start_norm);
  }

  startGrid(deter, stoch) {
    const x = grid(this.h, this.w, this.channels, this.fromStoch.call(this.stochLayer.call(stoch)));
    const each = this.channels / this.blocks; // channels of a block
    this.fromDeter.call(deter).forEach((value, i) => {
      const block = Math.floor(i / (this.h * this.w * each));
      const cell = Math.floor(i / each) % (this.h * this.w);
      x.data[cell * this.channels + block * each + (i % each)] += value;
    });
    return mapped(x, this.norm.call(x.data).map(silu));
  }
}

/** The start grid, then per stage upsample and convolve; an image in [0, 1]. */
export class ConvDecoder extends StartGrid {
  constructor(params, shape, config) {
    super(params, shape, config);
    this.convs = list(params.convs).map((conv) => new Conv(conv));
    this.norms = list(params.norms).map((norm) => new Norm(norm));
    this.out = new Conv(params.out);
  }

  call(deter, stoch) {
    let x = this.startGrid(deter, stoch);
    this.convs.forEach((conv, i) => {
      const y = conv.call(upsample(x));
      x = mapped(y, this.norms[i].call(y.data).map(silu));
    });
    const y = this.out.call(upsample(x));
    return mapped(y, y.data.map(sigmoid));
  }
}

/** The start grid, then per stage each cell becomes a patch of k x k cells; an image in [0, 1]. */
export class PatchDecoder extends StartGrid {
  constructor(params, shape, config) {
    super(params, shape, config);
    this.side = config.kernel;
    this.linears = list(params.linears).map((linear) => new Linear(linear));
    this.norms = list(params.norms).map((norm) => new Norm(norm));
    this.out = new Linear(params.out);
  }

  call(deter, stoch) {
    let x = this.startGrid(deter, stoch);
    this.linears.forEach((linear, i) => {
      const y = fromPatches(perCell(x, (cell) => linear.call(cell)), this.side);
      x = mapped(y, this.norms[i].call(y.data).map(silu));
    });
    const y = perCell(x, (cell) => this.out.call(cell));
    return fromPatches(mapped(y, y.data.map(sigmoid)), this.side);
  }
}
