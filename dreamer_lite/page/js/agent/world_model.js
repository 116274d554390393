// The world model: what it predicts, without its losses. See dreamer_lite/agent/world_model.py.
import { scalarMean } from "./distributions.js";
import { Head } from "./layers.js";
import { Decoder, Encoder } from "./networks.js";
import { feature, Rssm } from "./rssm.js";
import { sigmoid } from "./transforms.js";

export class WorldModel {
  constructor(params, spaces, config) {
    this.config = config;
    this.encoder = new Encoder(params.encoder, spaces, config);
    this.rssm = new Rssm(params.rssm, config);
    this.decoder = new Decoder(params.decoder ?? {}, spaces, config);
    this.rewardHead = new Head(params.reward_head);
    this.contHead = new Head(params.cont_head);
  }

  /** The expected reward that arrives with a state. */
  reward(state) {
    return scalarMean(this.config.scalars, this.rewardHead.call(feature(state)));
  }

  /** Discount times the probability that the episode continues after a state. */
  cont(state) {
    return sigmoid(this.contHead.call(feature(state))[0]);
  }
}
