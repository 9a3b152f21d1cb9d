/**
 * Two session machines that replace their keys over a network that delays, loses and repeats: whoever
 * starts when, the one that sends always sends under keys that the other can open, and in the end both
 * use the same. The handshake is a model of DTLS (four flights, retransmitted); the machines are real.
 */
import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import { NodeId, SessionNonce } from '../../base/ids.ts';
import { nextSession } from '../../tincan-bridge/session/core/session.ts';
import {
  defaultRekeyRules,
  type Input,
  initialSession,
  type SessionState,
  type TimerId,
} from '../../tincan-bridge/session/core/session-state.ts';
import { suite } from '../support/harness.ts';

const test = suite('replacement properties');
const nonce = (n: number): SessionNonce => SessionNonce.parse(n.toString(16).padStart(16, '0'));
const retransmitMs = 200;

type Message = { readonly keys: string } & (
  | { readonly kind: 'ping' | 'pong' | 'data' }
  | { readonly kind: 'ask' }
  | { readonly kind: 'flight'; readonly id: SessionNonce; readonly flight: number }
);

/** One machine and a shell of a few lines. */
class End {
  readonly installed = new Map<number, string>();
  other: End | null = null;
  state: SessionState;
  #handshake: { id: SessionNonce; flight: number; base: number } | null = null;
  #seen = -1;
  readonly #timers = new Map<TimerId, object>();
  readonly #heardMs = new Map<number, number>();
  #count: number;
  readonly #world: World;

  constructor(world: World, begins: boolean, firstNumber: number) {
    this.#world = world;
    this.#count = firstNumber;
    const rules = { ...defaultRekeyRules, begins };
    this.state = initialSession(NodeId.parse('0'.repeat(32)), 0, rules);
    this.input({ kind: 'wanted' });
    const { setup } = this.state;
    if (!('own' in setup)) throw new Error('no attempt');
    const remote = { ufrag: 'uuuu', password: 'p'.repeat(22), candidates: [] };
    const heard = { nonce: nonce(1), peerNonce: setup.own };
    this.input({ kind: 'description', heard, remote });
    this.input({ kind: 'validated', own: setup.own });
    this.input({ kind: 'secured', own: setup.own });
  }

  get keys(): string {
    const { link } = this.state;
    if (link.kind === 'down') throw new Error('the link went down');
    return this.installed.get(link.number) ?? 'none';
  }

  input(input: Input): void {
    this.#count += 1;
    const { nowMs } = this.#world;
    const at = { nowMs, nonce: nonce(this.#count), random: 0.5, number: this.#count };
    const { state, effects } = nextSession(this.state, input, at);
    this.state = state;
    for (const effect of effects) {
      if (effect.kind === 'install') this.installed.set(effect.number, effect.rekey ?? 'first');
      if (effect.kind === 'remove') this.installed.delete(effect.number);
      if (effect.kind === 'ask') this.#send(effect.number, { kind: 'ping' });
      if (effect.kind === 'ask-rekey') this.#send(effect.number ?? 0, { kind: 'ask' });
      if (effect.kind === 'stop-rekey') this.#handshake = null;
      if (effect.kind === 'start-rekey') {
        this.#handshake = { id: effect.id, flight: 0, base: effect.base ?? 0 };
        this.#seen = -1;
        if (this.state.rules.begins) this.#fly(1);
      }
      if (effect.kind === 'timer') this.#schedule(effect.id, effect.atMs);
    }
  }

  #schedule(id: TimerId, atMs: number): void {
    if (id !== 'rekey' && id !== 'confirm' && !id.startsWith('retire-')) return;
    const mark = {};
    this.#timers.set(id, mark);
    this.#world.later(atMs - this.#world.nowMs, () => {
      // As the shell: a timer that was set anew does not ring.
      if (this.#timers.get(id) !== mark) return;
      const { standby, link } = this.state;
      const used = link.kind === 'up' ? link.number : -1;
      const confirmed = id === 'confirm' ? (standby?.number ?? -1) : used;
      const number = id.startsWith('retire-') ? Number(id.slice(7)) : confirmed;
      const heardMs = this.#heardMs.get(number);
      const heardAgoMs = heardMs === undefined ? -1 : this.#world.nowMs - heardMs;
      this.input({ kind: 'timer', id, heardAgoMs });
    });
  }

  /** Frames all the time, as a session in use has them. */
  chat(): void {
    const { link } = this.state;
    if (link.kind === 'up') this.#send(link.number, { kind: 'data' });
    this.#world.later(250, () => this.chat());
  }

  receive(message: Message): void {
    const found = [...this.installed].find(([, keys]) => keys === message.keys);
    if (found === undefined) return; // cannot be opened: lost
    const [number] = found;
    this.#heardMs.set(number, this.#world.nowMs);
    if (message.kind === 'data') return; // the datapath's own: the machine sees the counter only
    const { link } = this.state;
    if (link.kind === 'up' && number !== link.number) this.input({ kind: 'heard', number });
    if (message.kind === 'ping') this.#send(number, { kind: 'pong' });
    if (message.kind === 'ask') this.input({ kind: 'rekey-heard', number, id: null });
    if (message.kind === 'flight') this.#feed(number, message.id, message.flight);
  }

  #feed(number: number, id: SessionNonce, flight: number): void {
    this.input({ kind: 'rekey-heard', number, id });
    const handshake = this.#handshake;
    if (handshake?.id !== id || flight < this.#seen) return;
    const done = this.#seen === flight;
    this.#seen = flight;
    if (!done && flight >= 3) this.input({ kind: 'rekey-secured', id });
    if (flight < 4) this.#fly(flight + 1);
  }

  #fly(flight: number): void {
    const handshake = this.#handshake;
    if (handshake === null) return;
    handshake.flight = flight;
    const { id, base } = handshake;
    this.#send(base, { kind: 'flight', id, flight });
    if (flight === 4) return; // the last one is only repeated when it is asked for again
    this.#world.later(retransmitMs, () => {
      if (this.#handshake?.id === id && this.#seen < flight && handshake.flight === flight) {
        this.#fly(flight);
      }
    });
  }

  #send(number: number, message: Omit<Message, 'keys'> | Record<string, unknown>): void {
    const keys = this.installed.get(number);
    if (keys !== undefined) this.#world.carry(this, { ...message, keys } as Message);
  }
}

/** A queue of what happens when; losses, repetitions and delays come from the generator. */
class World {
  nowMs = 0;
  readonly #fates: readonly number[];
  readonly #events: Array<{ readonly atMs: number; readonly run: () => void }> = [];
  #sent = 0;

  constructor(fates: readonly number[]) {
    this.#fates = fates;
  }

  later(afterMs: number, run: () => void): void {
    this.#events.push({ atMs: this.nowMs + Math.max(0, afterMs), run });
  }

  /** Fates: 0–2 lost, 3 twice, else delayed by so many ms; all arrive once the fates are used up. */
  carry(from: End, message: Message): void {
    const fate = this.#fates[this.#sent] ?? 5;
    this.#sent += 1;
    if (fate <= 2) return;
    for (let copy = fate === 3 ? 0 : 1; copy < 2; copy += 1) {
      this.later(fate + copy * 3, () => from.other?.receive(message));
    }
  }

  run(untilMs: number, check: () => void): void {
    for (;;) {
      this.#events.sort((x, y) => x.atMs - y.atMs);
      const next = this.#events[0];
      if (next === undefined || next.atMs > untilMs) break;
      this.#events.shift();
      this.nowMs = next.atMs;
      next.run();
      check();
    }
    this.nowMs = untilMs;
  }
}

const fates = fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 60 });
const starts = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 400 })), {
  minLength: 1,
  maxLength: 8,
});

test('keys are replaced without a moment in which a sender cannot be opened', () => {
  let replaced = 0;
  fc.assert(
    fc.property(fates, starts, (fate, when) => {
      const world = new World(fate);
      const a = new End(world, true, 100);
      const b = new End(world, false, 500);
      a.other = b;
      b.other = a;
      a.chat();
      b.chat();
      const check = (): void => {
        assert.ok([...b.installed.values()].includes(a.keys), 'b cannot open what a sends');
        assert.ok([...a.installed.values()].includes(b.keys), 'a cannot open what b sends');
      };
      for (const [first, afterMs] of when) {
        const end = first ? a : b;
        world.later(afterMs, () => end.input({ kind: 'timer', id: 'rekey', heardAgoMs: 0 }));
      }
      world.run(60_000, check);
      assert.equal(a.keys, b.keys, 'they use the same keys in the end');
      assert.equal(a.state.standby, null);
      assert.equal(b.state.standby, null);
      assert.deepEqual([a.installed.size, b.installed.size], [1, 1], 'old keys are gone');
      if (a.keys !== 'first') replaced += 1;
    }),
    { numRuns: 2_000 },
  );
  assert.ok(replaced > 1_900, `only ${replaced} of 2000 runs ended with new keys`);
}, 60_000);

test('replaced keys end when nothing comes under them any more, at the latest after 30 s', () => {
  const world = new World([]);
  const a = new End(world, true, 100);
  const b = new End(world, false, 500);
  a.other = b;
  b.other = a;
  a.input({ kind: 'timer', id: 'rekey', heardAgoMs: 0 });
  world.run(1_000, () => {});
  assert.notEqual(a.keys, 'first');
  assert.equal(a.installed.size, 2);
  const old = a.state.retiring[0]?.number ?? 0;
  const retire = (nowMs: number, heardAgoMs: number): void => {
    world.nowMs = nowMs;
    a.input({ kind: 'timer', id: `retire-${old}`, heardAgoMs });
  };
  retire(6_000, 300);
  assert.equal(a.installed.size, 2, 'the peer still uses them');
  retire(40_000, 300);
  assert.deepEqual([...a.installed.values()], [a.keys]);
});
