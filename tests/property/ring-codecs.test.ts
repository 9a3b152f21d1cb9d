/**
 * The binary codecs of the ring: what is encoded comes back, and no bytes make a decoder throw or
 * read beyond their end.
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NodeId } from '../../base/ids.ts';
import {
  decodeFlood,
  encodeFlood,
  floodHeaderBytes,
} from '../../tincan-bridge/fabric/core/flood-codec.ts';
import {
  decodeRingControl,
  encodeRingControl,
  maxAdvertised,
  type RingControl,
} from '../../tincan-bridge/fabric/core/ring-control.ts';
import { decodeControl } from '../../tincan-bridge/session/core/control.ts';
import { suite } from '../support/harness.ts';

const test = suite('ring codecs');

const id = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .map((bytes) => NodeId.parse(Buffer.from(bytes).toString('hex')));
const byte = fc.nat(255);
/** Records as literals make them, for deepEqual. */
const plain = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(model, { noNullPrototype: true });
const number = fc.nat(2 ** 32 - 1);

const control: fc.Arbitrary<RingControl> = fc.oneof(
  plain({
    kind: fc.constant('neighbours' as const),
    transit: fc.boolean(),
    neighbours: fc.array(id, { maxLength: maxAdvertised }),
  }),
  plain({
    kind: fc.constant('dead-end' as const),
    source: id,
    destination: id,
    reporter: id,
    expired: fc.boolean(),
    ttl: byte,
  }),
  plain({
    kind: fc.constant('search' as const),
    origin: id,
    target: id,
    number,
    ttl: byte,
    anew: fc.boolean(),
  }),
  plain({ kind: fc.constant('found' as const), origin: id, target: id, number, hops: byte }),
);

const header = plain({
  origin: id,
  nonce: fc.bigInt(0n, 2n ** 64n - 1n),
  target: id,
  bound: id,
  ttl: byte,
  hops: byte,
});

test('control payloads come back, fit every path, and are no session payloads', () => {
  fc.assert(
    fc.property(control, (each) => {
      const bytes = encodeRingControl(each);
      assert.deepEqual(decodeRingControl(bytes), each);
      assert.ok(bytes.length <= 1_043);
      assert.equal(decodeControl(bytes), null);
    }),
  );
});

test('no part of a control payload is taken for a whole one, and more is ignored', () => {
  fc.assert(
    fc.property(control, fc.nat(), fc.uint8Array({ maxLength: 40 }), (each, cut, more) => {
      const bytes = encodeRingControl(each);
      assert.equal(decodeRingControl(bytes.subarray(0, cut % bytes.length)), null);
      assert.deepEqual(decodeRingControl(Uint8Array.from([...bytes, ...more])), each);
    }),
  );
});

test('flood headers come back before their frame', () => {
  fc.assert(
    fc.property(header, fc.uint8Array({ minLength: 14, maxLength: 1_600 }), (each, frame) => {
      const bytes = encodeFlood(each, frame);
      assert.equal(bytes.length, floodHeaderBytes + frame.length);
      assert.deepEqual(decodeFlood(bytes), { header: each, frame });
    }),
  );
});

test('floods that are too short, or of another version, are none', () => {
  fc.assert(
    fc.property(header, fc.nat(floodHeaderBytes + 13), fc.nat(255), (each, length, version) => {
      const bytes = encodeFlood(each, new Uint8Array(14));
      assert.equal(decodeFlood(bytes.subarray(0, length)), null);
      fc.pre(version !== 1);
      bytes[0] = version;
      assert.equal(decodeFlood(bytes), null);
    }),
  );
});

test('no bytes make a decoder throw', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 1_200 }),
      fc.integer({ min: 14, max: 21 }),
      (bytes, kind) => {
        decodeFlood(bytes);
        decodeRingControl(bytes);
        if (bytes.length > 0) bytes[0] = kind;
        const decoded = decodeRingControl(bytes);
        if (decoded !== null)
          assert.deepEqual(decodeRingControl(encodeRingControl(decoded)), decoded);
      },
    ),
    { numRuns: 5_000 },
  );
});
