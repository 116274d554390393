// Encoder and decoder of a whole observation. The same as dreamer_lite/agent/networks.py.
// An observation is {key: numbers}, as real ones are stored: images 0 to 255, classes as numbers.
import { OneHot } from "./distributions.js";
import { ConvDecoder, ConvEncoder, grid, PatchDecoder, PatchEncoder } from "./images.js";
import { concat, Linear, Mlp } from "./layers.js";
import { sigmoid, symexp, symlog } from "./transforms.js";

export const isImage = (space) => space.dtype === "uint8" && !space.classes;

/** [keys for the MLP, keys for the image network], each sorted. */
function splitKeys(spaces, config) {
  const keys = Object.keys(spaces).sort();
  const images = keys.filter((key) => isImage(spaces[key]) && config.image_net !== "dense");
  return [keys.filter((key) => !images.includes(key)), images];
}

export class Encoder {
  constructor(params, spaces, config) {
    this.spaces = spaces;
    [this.flat, this.images] = splitKeys(spaces, config);
    if (this.flat.length) this.mlp = new Mlp(params.mlp);
    if (this.images.length) {
      const Net = config.image_net === "patch" ? PatchEncoder : ConvEncoder;
      this.conv = new Net(params.conv, config);
    }
  }

  call(obs) {
    const outputs = [];
    if (this.flat.length) {
      outputs.push(
        this.mlp.call(concat(...this.flat.map((key) => flatten(obs[key], this.spaces[key])))),
      );
    }
    if (this.images.length) outputs.push(this.conv.call(this.joined(obs)));
    return concat(...outputs);
  }

  /** All images as one, with the channels of all, in [-0.5, 0.5]. */
  joined(obs) {
    const [h, w] = this.spaces[this.images[0]].shape;
    const widths = this.images.map((key) => this.spaces[key].shape[2]);
    const all = grid(h, w, widths.reduce((a, b) => a + b));
    let before = 0;
    this.images.forEach((key, number) => {
      const c = widths[number];
      for (let i = 0; i < h * w * c; i++) {
        all.data[Math.floor(i / c) * all.c + before + (i % c)] = obs[key][i] / 255 - 0.5;
      }
      before += c;
    });
    return all;
  }
}

/** An observation as input of the MLP: one-hot, cells in [0, 1], or symlog. */
function flatten(x, space) {
  if (space.classes) {
    const onehot = new Float32Array(x.length * space.classes);
    x.forEach((c, i) => (onehot[i * space.classes + c] = 1));
    return onehot;
  }
  return Float32Array.from(x, isImage(space) ? (cell) => cell / 255 : symlog);
}

export class Decoder {
  constructor(params, spaces, config) {
    this.spaces = spaces;
    [this.flat, this.images] = splitKeys(spaces, config);
    if (this.flat.length) {
      this.mlp = new Mlp(params.mlp);
      this.heads = this.flat.map((key) => new Linear(params.heads[key]));
    }
    if (this.images.length) {
      const Net = config.image_net === "patch" ? PatchDecoder : ConvDecoder;
      this.conv = new Net(params.conv, spaces[this.images[0]].shape, config);
    }
  }

  /** The mean of each part of the observation: images in [0, 1], classes as probabilities. */
  call(deter, stoch) {
    const means = Object.create(null); // keys may have any name
    if (this.flat.length) {
      const x = this.mlp.call(concat(stoch, deter));
      this.flat.forEach((key, i) => (means[key] = mean(this.heads[i].call(x), this.spaces[key])));
    }
    if (this.images.length) {
      const joint = this.conv.call(deter, stoch);
      let before = 0;
      for (const key of this.images) {
        const c = this.spaces[key].shape[2];
        const place = (i) => Math.floor(i / c) * joint.c + before + (i % c);
        means[key] = Float32Array.from({ length: joint.h * joint.w * c }, (_, i) => joint.data[place(i)]);
        before += c;
      }
    }
    return means;
  }
}

function mean(raw, space) {
  if (space.classes) return OneHot.mix(raw, space.classes).probs;
  return raw.map(isImage(space) ? sigmoid : symexp);
}

/** A decoded observation in the form of a real one, so that it can be encoded again. */
export function asObserved(means, spaces) {
  const obs = Object.create(null);
  for (const [key, values] of Object.entries(means)) {
    const { classes } = spaces[key];
    if (classes) obs[key] = new OneHot(values.map(Math.log), classes).modes();
    else obs[key] = isImage(spaces[key]) ? values.map((x) => 255 * x) : values;
  }
  return obs;
}
