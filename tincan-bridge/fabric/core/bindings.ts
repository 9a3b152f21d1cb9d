/**
 * Which station has which IP address, as the stations say themselves, so that a question for it need not
 * go to everybody. Owns the memory and the rule when a question goes to one node alone; never answers for
 * anybody: where nobody answers, the next question is for all. Time is an argument.
 */
import type { Mac } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import type { IpText, Resolution } from './address-resolution.ts';

/** Addresses that are remembered, of all stations; the one heard of first gives way. */
export const maxBindings = 8_192;
/** An address that was not heard of for so long is asked of everybody again. */
export const bindingMs = 600_000;
/** The same question again so soon was not answered (Linux asks 3 times in 3 s). */
const againMs = 10_000;
const maxAsked = 4_096;

interface Binding {
  readonly mac: Mac;
  readonly heardMs: number;
  /** It was another station's before: until then everybody is asked. */
  readonly disputedMs: number;
}

export class Bindings {
  readonly #of = new Map<IpText, Binding>();
  readonly #askedMs = new Map<string, number>();
  /** Stations of the host side whose first question everybody has heard. */
  readonly #introduced = new Map<Mac, true>();

  get size(): number {
    return this.#of.size;
  }

  /** What a station has said of itself. */
  learn({ says }: Resolution, nowMs: number): void {
    if (says === null) return;
    const before = this.#of.get(says.ip);
    const moved = before !== undefined && before.mac !== says.mac;
    const disputedMs = moved ? nowMs + againMs : (before?.disputedMs ?? 0);
    remember(this.#of, says.ip, { mac: says.mac, heardMs: nowMs, disputedMs }, maxBindings);
  }

  /** The host side has a new station: until it has asked everybody, others may look for it elsewhere. */
  isNew(source: Mac): void {
    this.#introduced.delete(source);
  }

  /** The station that alone is asked by `source`; null: everybody is. */
  stationFor(source: Mac, { asks }: Resolution, nowMs: number): Mac | null {
    if (asks === null) return null;
    const isFirst = !this.#introduced.has(source);
    remember(this.#introduced, source, true, maxAsked);
    const question = `${asks.asker}>${asks.ip}`;
    const askedMs = this.#askedMs.get(question) ?? Number.NEGATIVE_INFINITY;
    remember(this.#askedMs, question, nowMs, maxAsked);
    const binding = this.#of.get(asks.ip);
    if (binding === undefined || isFirst || nowMs - askedMs < againMs) return null;
    if (nowMs - binding.heardMs >= bindingMs || nowMs < binding.disputedMs) return null;
    return binding.mac;
  }
}
