// Layers, for one vector at a time. The same as dreamer_lite/agent/layers.py.
// A parameter is a Float32Array with a property `shape`, row by row.
import { silu } from "./transforms.js";

/** [a, b, ...] one after the other. */
export function concat(...parts) {
  const joined = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    joined.set(part, start);
    start += part.length;
  }
  return joined;
}

/** y += x W, where W (x.length, width) begins at `offset` of the kernel and y at `to`. */
export function addProduct(x, kernel, width, y, offset = 0, to = 0) {
  for (let i = 0; i < x.length; i++) {
    const value = x[i];
    if (value === 0) continue; // most of a one-hot sample
    const row = offset + i * width;
    for (let o = 0; o < width; o++) y[to + o] += value * kernel[row + o];
  }
}

/** y = x W + b. */
export class Linear {
  constructor({ kernel, bias }) {
    this.kernel = kernel;
    this.bias = bias;
  }

  call(x) {
    const y = new Float32Array(this.bias);
    addProduct(x, this.kernel, y.length, y);
    return y;
  }
}

/**
 * A block-diagonal linear map: part k of x, followed by all of `shared`, makes part k of y.
 * Python has `BlockLinear` and, with something shared, `shared_block_affine`.
 */
export class BlockLinear {
  constructor({ kernel, bias }) {
    this.kernel = kernel; // (blocks, inputs, outputs)
    this.bias = bias;
  }

  call(x, shared = new Float32Array(0)) {
    const [blocks, inputs, outputs] = this.kernel.shape;
    const own = x.length / blocks;
    const y = new Float32Array(this.bias);
    for (let k = 0; k < blocks; k++) {
      const offset = k * inputs * outputs;
      const part = x.subarray(k * own, (k + 1) * own);
      addProduct(part, this.kernel, outputs, y, offset, k * outputs);
      addProduct(shared, this.kernel, outputs, y, offset + own * outputs, k * outputs);
    }
    return y;
  }
}

/** RMSNorm: y = x / sqrt(mean(x^2) + 1e-4) * scale, of each `scale.length` numbers of x. */
export class Norm {
  constructor({ scale }) {
    this.scale = scale;
  }

  call(x) {
    const size = this.scale.length;
    const y = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += size) {
      let squares = 0;
      for (let i = 0; i < size; i++) squares += x[start + i] ** 2;
      const inverse = 1 / Math.sqrt(squares / size + 1e-4);
      for (let i = 0; i < size; i++) y[start + i] = x[start + i] * inverse * this.scale[i];
    }
    return y;
  }
}

/** Linear -> RMSNorm -> SiLU. */
export class Layer {
  constructor({ linear, norm }) {
    this.linear = new Linear(linear);
    this.norm = new Norm(norm);
  }

  call(x) {
    return this.norm.call(this.linear.call(x)).map(silu);
  }
}

/** The children "0", "1", ... of a part of the parameters, in order. */
export function list(params) {
  const count = Object.keys(params ?? {}).length;
  return Array.from({ length: count }, (_, i) => params[i]);
}

/** A stack of layers. */
export class Mlp {
  constructor(params) {
    this.layers = list(params?.layers).map((layer) => new Layer(layer));
  }

  call(x) {
    return this.layers.reduce((y, layer) => layer.call(y), x);
  }
}

/** An MLP and one linear output. */
export class Head {
  constructor({ mlp, out }) {
    this.mlp = new Mlp(mlp);
    this.out = new Linear(out);
  }

  call(x) {
    return this.out.call(this.mlp.call(x));
  }
}
