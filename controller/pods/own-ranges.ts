/**
 * This node's ranges: from the configuration, the Kubernetes API, or claimed out of the pool; kept
 * over restarts. Owns which they are and why there are none; announces nothing.
 */
import { formatRange, type Range } from '../../base/cidr.ts';
import type { Logger } from '../../base/log.ts';
import { chooseClaim, isClaimOf, type Pool, parseRanges } from './core/claims.ts';
import type { PodsConfig, PodsDeps } from './deps.ts';
import { followNode } from './kubernetes.ts';
import { readRanges, writeRanges } from './range-file.ts';

export class OwnRanges {
  readonly #config: PodsConfig;
  readonly #deps: PodsDeps;
  readonly #log: Logger;
  readonly #changed: () => void;
  #ranges: readonly Range[] = [];
  #problem: string | null;

  /** `changed` is called when there are others. */
  constructor(config: PodsConfig, deps: PodsDeps, log: Logger, changed: () => void) {
    this.#config = config;
    this.#deps = deps;
    this.#log = log;
    this.#changed = changed;
    this.#problem = this.isWithoutPods
      ? 'this node has no pods: PodCIDRs is empty'
      : `the pod ranges of this node are not known yet (${config.source.kind})`;
  }

  get ranges(): readonly Range[] {
    return this.#ranges;
  }

  /** Why there are none; null when there are. */
  get problem(): string | null {
    return this.#problem;
  }

  /** The operator gave it no range: it has no pods, and knows where the others' are. */
  get isWithoutPods(): boolean {
    const { source } = this.#config;
    return source.kind === 'config' && source.ranges.length === 0;
  }

  start(signal: AbortSignal): void {
    const { source, overlay } = this.#config;
    if (source.kind === 'config') {
      this.#set(parseRanges(source.ranges));
      return;
    }
    const before = parseRanges(readRanges(this.#deps.stateDirectory, overlay));
    if (source.kind === 'kubernetes' || isClaimOf(this.#pool, before)) this.#set(before);
    if (source.kind === 'kubernetes') this.#follow(source, signal);
  }

  /** Takes free ranges of the pool, unless this node has some. `taken`: what it must not have. */
  claim(taken: readonly Range[]): void {
    if (this.#ranges.length > 0) return;
    const claim = chooseClaim(this.#pool, this.#deps.self, taken);
    if (claim === null) this.#problem = 'no range of the pool is free';
    else this.#set(claim);
  }

  /** Another node keeps what both claimed; `claim` finds others. */
  giveUp(): void {
    this.#ranges = [];
    this.#problem = 'the pod ranges of this node were another’s';
  }

  get #pool(): Pool {
    const { source } = this.#config;
    if (source.kind !== 'pool') return { ranges: [], nodeLength: { 4: 32, 6: 128 } };
    return { ranges: parseRanges(source.pool), nodeLength: source.nodeLength };
  }

  #follow(
    source: PodsConfig['source'] & { readonly kind: 'kubernetes' },
    signal: AbortSignal,
  ): void {
    const { clock, random, environment } = this.#deps;
    const found = (texts: readonly string[]): void => {
      const ranges = parseRanges(texts);
      if (ranges.length === texts.length) this.#set(ranges);
      else failed(`the Kubernetes API gives "${texts.join(', ')}", which are no ranges`);
    };
    // Ranges of before stay in use: an API server that is away for an hour changes nothing.
    const failed = (why: string): void => {
      if (this.#ranges.length === 0) this.#problem = why;
      this.#log.warn('pod ranges not read', { error: why });
    };
    followNode(source, { clock, random, environment, found, failed }, signal);
  }

  #set(ranges: readonly Range[]): void {
    const texts = ranges.map(formatRange);
    if (texts.join() === this.#ranges.map(formatRange).join()) return;
    this.#ranges = ranges;
    this.#problem = null;
    this.#log.info('pod ranges known', { address: texts.join(', ') });
    const { source, overlay } = this.#config;
    if (source.kind !== 'config') writeRanges(this.#deps.stateDirectory, overlay, texts);
    this.#changed();
  }
}
