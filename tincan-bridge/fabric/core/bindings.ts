/**
 * Which station has which IP address, as the stations and their nodes say themselves, so that a question
 * for it need not go to everybody. Owns the memory and the rule when a question goes to one node alone;
 * never answers for anybody: where nobody answers, the next question is for all. Time is an argument.
 */
import type { Mac, NodeId } from '../../../base/ids.ts';
import { remember } from '../../../base/remember.ts';
import { type IpText, ipTextOf, type Question, type Resolution } from './address-resolution.ts';

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

/** Who has an address: the station that said so, the node that announced it for its host. */
export interface Holder {
  readonly station: Mac | null;
  readonly node: NodeId | null;
}

export class Bindings {
  readonly #of = new Map<IpText, Binding>();
  /** What nodes announce of their hosts; null: more than one does. */
  #hosts: ReadonlyMap<IpText, NodeId | null> = new Map();
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

  /** What members announce of their hosts, all of them; replaces the earlier. */
  setHosts(all: readonly { readonly node: NodeId; readonly address: string }[]): void {
    const hosts = new Map<IpText, NodeId | null>();
    for (const { node, address } of all) {
      const ip = ipTextOf(address);
      if (ip !== null) hosts.set(ip, hosts.has(ip) ? null : node);
    }
    this.#hosts = hosts;
  }

  /** The host side has a new station: until it has asked everybody, others may look for it elsewhere. */
  isNew(source: Mac): void {
    this.#introduced.delete(source);
  }

  /** Who alone is asked by `source`; null: everybody is. */
  askedBy(source: Mac, { ip, asker }: Question, nowMs: number): Holder | null {
    const isFirst = !this.#introduced.has(source);
    remember(this.#introduced, source, true, maxAsked);
    const question = `${asker}>${ip}`;
    const askedMs = this.#askedMs.get(question) ?? Number.NEGATIVE_INFINITY;
    remember(this.#askedMs, question, nowMs, maxAsked);
    if (isFirst || nowMs - askedMs < againMs) return null;
    const binding = this.#of.get(ip);
    const node = this.#hosts.get(ip) ?? null;
    if (binding === undefined || nowMs - binding.heardMs >= bindingMs) {
      return node === null ? null : { station: null, node };
    }
    return nowMs < binding.disputedMs ? null : { station: binding.mac, node };
  }
}
