/**
 * Whatever comes, in whatever order: the session machine, the control codec and the "too big" codec
 * neither throw nor break what they promise.
 */
import { strict as assert } from 'node:assert';
import { BlockList } from 'node:net';
import fc from 'fast-check';
import { NodeId, SessionNonce } from '../../base/ids.ts';
import { tooBigAnswer } from '../../tincan-bridge/fabric/core/too-big.ts';
import { parseCandidate } from '../../tincan-bridge/ice/candidates.ts';
import {
  type Control,
  decodeControl,
  encodeControl,
  maxTraced,
} from '../../tincan-bridge/session/core/control.ts';
import { nextSession } from '../../tincan-bridge/session/core/session.ts';
import {
  defaultRekeyRules,
  type Input,
  initialSession,
  type TimerId,
} from '../../tincan-bridge/session/core/session-state.ts';
import { suite } from '../support/harness.ts';

const test = suite('session properties');
const nonce = (n: number): SessionNonce => SessionNonce.parse(n.toString(16).padStart(16, '0'));
const few = fc.integer({ min: 1, max: 12 }).map(nonce);
const remote = { ufrag: 'uuuu', password: 'p'.repeat(22), candidates: [] };
const timers: TimerId[] = [
  'pause',
  'repeat',
  'deadline',
  'ask',
  'tick',
  'improve',
  'retire-1',
  'retire-2',
  'retire-3',
  'rekey',
  'confirm',
];

const input: fc.Arbitrary<Input> = fc.oneof(
  fc.constant<Input>({ kind: 'wanted' }),
  fc.record({
    kind: fc.constant('description' as const),
    heard: fc.record({ nonce: few, peerNonce: fc.option(few) }),
    remote: fc.record({ directOnly: fc.boolean() }).map((more) => ({ ...remote, ...more })),
  }),
  fc.record({
    kind: fc.constantFrom('candidates' as const, 'validated' as const, 'secured' as const),
    own: few,
  }),
  fc.record({
    kind: fc.constant('secured' as const),
    own: few,
    relayed: fc.constant(true),
  }),
  fc.constant<Input>({ kind: 'network-changed' }),
  fc.record({ kind: fc.constant('ice-failed' as const), own: few, reason: fc.constant('x') }),
  fc.record({ kind: fc.constant('heard' as const), number: fc.integer({ min: 1, max: 60 }) }),
  fc.record({
    kind: fc.constant('rekey-heard' as const),
    number: fc.integer({ min: 1, max: 60 }),
    id: fc.option(few),
  }),
  fc.record({ kind: fc.constant('rekey-secured' as const), id: few }),
  fc.record({ kind: fc.constant('rekey-failed' as const), id: few, reason: fc.constant('x') }),
  fc.record({ kind: fc.constant('released' as const), keep: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('needed' as const, 'ways-changed' as const) }),
  fc.record({
    kind: fc.constant('peer-on-ring' as const),
    number: fc.integer({ min: 1, max: 60 }),
  }),
  fc.record({
    kind: fc.constant('ring-heard' as const),
    id: fc.option(few),
    heardAgoMs: fc.integer({ min: -1, max: 40_000 }),
  }),
  fc.record({
    kind: fc.constant('insecure' as const),
    own: few,
    reason: fc.constant('x'),
    refused: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('timer' as const),
    id: fc.constantFrom(...timers),
    heardAgoMs: fc.integer({ min: -1, max: 40_000 }),
  }),
  fc.record({
    kind: fc.constantFrom('ended' as const, 'distrusted' as const, 'unwanted' as const),
    reason: fc.constant('x'),
  }),
);

test('no input crashes the machine, and its effects always balance', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(input, fc.nat(9_000), fc.boolean()), { maxLength: 60 }),
      fc.boolean(),
      (inputs, begins) => {
        const rules = { ...defaultRekeyRules, begins };
        let state = initialSession(NodeId.parse('0'.repeat(32)), 0, rules);
        let nowMs = 0;
        let up = false;
        const ices = new Set<string>();
        const installed = new Set<number>();
        inputs.forEach(([next, later, way], n) => {
          nowMs += later;
          const at = { nowMs, nonce: nonce(n + 1), random: 0.5, number: n + 1, way };
          const step = nextSession(state, next, at);
          state = step.state;
          for (const effect of step.effects) {
            if (effect.kind === 'start-ice') ices.add(effect.own);
            if (effect.kind === 'stop-ice')
              assert.ok(ices.delete(effect.own), 'stopped what never was');
            if (effect.kind === 'pair-ice') assert.ok(ices.has(effect.own), 'paired what is gone');
            if (effect.kind === 'install') {
              installed.add(effect.number);
              if (effect.own !== effect.rekey) ices.delete(effect.own); // from now on it lives and ends with its association
            }
            if (effect.kind === 'use') {
              assert.ok(installed.has(effect.number), 'used before it was installed');
              if (effect.from !== null)
                assert.ok(installed.has(effect.from), 'replaced what is gone');
            }
            if (effect.kind === 'remove') installed.delete(effect.number);
            if (effect.kind === 'use-ring' || effect.kind === 'shed') {
              assert.ok(installed.has(effect.number), 'moved what is gone');
            }
            if (effect.kind === 'start-ice')
              assert.ok(state.wanted, 'an attempt that nobody wants');
            if (effect.kind === 'up') {
              assert.equal(up, false, 'up twice');
              up = true;
            }
            if (effect.kind === 'down') {
              assert.equal(up, true, 'down twice');
              up = false;
            }
            if (effect.kind === 'timer') assert.ok(effect.atMs >= nowMs);
          }
          assert.equal(up, state.link.kind === 'up');
          if (state.link.kind === 'up') assert.ok(installed.has(state.link.number));
          assert.ok(ices.size <= 1, 'one attempt is built at a time');
          assert.ok(state.starts.length <= 8 && state.negotiation.retired.length <= 32);
        });
      },
    ),
    { numRuns: 3_000 },
  );
}, 60_000);

test('control payloads round trip, and no bytes crash their decoder', () => {
  const number = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const control: fc.Arbitrary<Control> = fc.oneof(
    fc.record({
      kind: fc.constantFrom(
        'ping' as const,
        'pong' as const,
        'bye' as const,
        'ring-ping' as const,
        'deaf-ping' as const,
        'received' as const,
      ),
      nonce: number,
    }),
    fc
      .tuple(number, fc.nat(254), fc.nat(254), fc.uint8Array({ maxLength: 1_000 }))
      .filter(([, index, count]) => index < count)
      .map(([nonce, index, count, part]) => ({
        kind: 'message' as const,
        nonce,
        index,
        count,
        part,
      })),
    fc
      .tuple(
        number,
        fc.array(fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), { maxLength: maxTraced }),
      )
      .map(([nonce, ids]) => ({
        kind: 'traced' as const,
        nonce,
        hops: ids.map((id) => NodeId.parse(id.toString(16).padStart(32, '0'))),
      })),
    fc.record({
      kind: fc.constant('description' as const),
      nonce: number,
      json: fc.string({ unit: 'grapheme' }),
    }),
    fc.record({
      kind: fc.constant('rekey' as const),
      nonce: number,
      datagram: fc.uint8Array({ maxLength: 1_400 }),
    }),
  );
  fc.assert(
    fc.property(control, (c) => assert.deepEqual(decodeControl(encodeControl(c)), { ...c })),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const decoded = decodeControl(bytes);
      const [kind = 0] = bytes;
      const [index = 0, count = 0] = bytes.subarray(9);
      const known = kind === 7 ? index < count : kind >= 1 && kind <= 10;
      assert.equal(decoded !== null, bytes.length >= 9 && known);
    }),
  );
});

test('no frame crashes the "too big" codec, and its answers are small', () => {
  const start = fc.constantFrom(
    [0x08, 0x00, 0x45],
    [0x86, 0xdd, 0x60],
    [0x81, 0x00, 0x00, 0x01, 0x08, 0x00, 0x45],
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 1_600 }), start, (bytes, head) => {
      const frame = Uint8Array.from(bytes);
      if (frame.length > 30) frame.set(head, 12);
      if (frame.length > 6) frame[0] = (frame[0] ?? 0) & 0xfe;
      const answer = tooBigAnswer(frame, 1_400);
      if (answer !== null) assert.ok(answer.length <= 1_300 && answer.length > 40);
    }),
  );
});

test('no text crashes the reading of a candidate', () => {
  const policy = { loopback: true, overlays: new BlockList() };
  const address = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ maxLength: 45 }));
  fc.assert(
    fc.property(fc.string(), address, fc.integer(), fc.integer(), (f, host, port, priority) => {
      parseCandidate(f, policy);
      const parsed = parseCandidate(`a 1 udp ${priority} ${host} ${port} typ host`, policy);
      if (parsed !== null) assert.ok(parsed.port > 0 && parsed.port < 65_536);
    }),
  );
});
