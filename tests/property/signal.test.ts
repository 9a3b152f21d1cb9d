/** Signalling and identity against anything: round trips hold, and nothing from outside crashes. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NodeId, OverlayId } from '../../base/ids.ts';
import { judgeClaim, type Pin } from '../../controller/identity/core/pins.ts';
import { readServices, servicesNamespace } from '../../controller/signal/core/external-services.ts';
import { parseJid } from '../../controller/signal/core/jid.ts';
import {
  initialMembership,
  isMember,
  type MembershipInput,
  nextMembership,
} from '../../controller/signal/core/membership.ts';
import { isRosterPush, readRoster, rosterNamespace } from '../../controller/signal/core/roster.ts';
import { clientNamespace, element, type Stanza } from '../../controller/signal/core/stanza.ts';
import { decodePayload, peerMessage } from '../../controller/signal/stanzas-out.ts';
import { suite } from '../support/harness.ts';
import { makeAuthority } from '../support/identities.ts';

const test = suite('signal properties');
const lab = OverlayId.parse('lab');
const place = { overlay: lab, jid: 'alice@lab.test/x', account: 'alice@lab.test' };
const runs = { numRuns: 300 };

test('any message comes out as it went in, through envelope and stanza', async (t) => {
  const [alice, bob] = [await makeAuthority(t), await makeAuthority(t)];
  bob.authority.admit(alice.authority.announce(lab, place.jid, 'alice'), place);
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (reason) => {
      const message = { kind: 'ended' as const, reason };
      const sealed = alice.authority.seal(lab, bob.identity.node, message);
      const carried = decodePayload(peerMessage('x@y/z', sealed).children[0]?.text ?? '');
      const opened = bob.authority.open(lab, alice.identity.node, carried ?? '');
      assert.deepEqual(opened, { kind: 'message', message });
    }),
    { numRuns: 100 },
  );
}, 30_000);

test('a flipped character anywhere in an envelope is noticed', async (t) => {
  const [alice, bob] = [await makeAuthority(t), await makeAuthority(t)];
  bob.authority.admit(alice.authority.announce(lab, place.jid, 'alice'), place);
  const seal = (): string =>
    alice.authority.seal(lab, bob.identity.node, { kind: 'ended', reason: 'hello' });
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 33, max: 126 }), (at, code) => {
      const text = seal();
      const index = at % text.length;
      const changed = text.slice(0, index) + String.fromCharCode(code) + text.slice(index + 1);
      const opened = bob.authority.open(lab, alice.identity.node, changed);
      if (opened.kind === 'message') {
        // Unused bits of the last base64 digit may differ: the bytes that were signed do not.
        const bytes = (s: string) => {
          const { body, signature }: Record<string, string> = JSON.parse(s);
          return [Buffer.from(body ?? '', 'base64'), Buffer.from(signature ?? '', 'base64')];
        };
        assert.deepEqual(bytes(changed), bytes(text));
      }
    }),
    runs,
  );
}, 30_000);

test('no text crashes opening or admitting, and none is believed', async (t) => {
  const [alice, bob] = [await makeAuthority(t), await makeAuthority(t)];
  bob.authority.admit(alice.authority.announce(lab, place.jid, 'alice'), place);
  const anything = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .record({ body: fc.base64String(), signature: fc.base64String() })
      .map((x) => JSON.stringify(x)),
    fc.tuple(fc.json(), fc.uint8Array({ minLength: 64, maxLength: 64 })).map(([json, bytes]) =>
      JSON.stringify({
        body: Buffer.from(json).toString('base64'),
        signature: Buffer.from(bytes).toString('base64'),
      }),
    ),
  );
  fc.assert(
    fc.property(anything, (text) => {
      assert.equal(bob.authority.open(lab, alice.identity.node, text).kind, 'refused');
      assert.equal(bob.authority.admit(text, place).kind, 'refused');
      decodePayload(text);
      parseJid(text);
    }),
    runs,
  );
}, 30_000);

const anyName = fc.oneof(
  fc.constantFrom('iq', 'query', 'item', 'group', 'services', 'service', 'error'),
  fc.string(),
);
const anyNamespace = fc.constantFrom(clientNamespace, rosterNamespace, servicesNamespace, '');
const anyAttributes = fc.dictionary(
  fc.constantFrom(
    'jid',
    'from',
    'type',
    'subscription',
    'host',
    'port',
    'transport',
    'expires',
    'username',
    'password',
  ),
  fc.oneof(
    fc.string(),
    fc.constantFrom(
      'a@b',
      'both',
      'turn',
      'turns',
      'stun',
      'udp',
      '3478',
      '2026-01-01T00:00:00Z',
      '9999-99-99T99:99:99Z',
    ),
  ),
);
const stanzaOfDepth: (depth?: number) => fc.Arbitrary<Stanza> = fc.memo((depth) => {
  const children = depth <= 1 ? fc.constant([]) : fc.array(stanzaOfDepth(), { maxLength: 4 });
  return fc
    .tuple(anyName, anyNamespace, anyAttributes, children, fc.string())
    .map(([name, namespace, attributes, inner, text]) =>
      element(name, namespace, attributes, ...inner, text),
    );
});
const anyStanza = stanzaOfDepth(4);

test('no stanza crashes the readers', () => {
  fc.assert(
    fc.property(anyStanza, fc.option(fc.string()), (stanza, group) => {
      readRoster(stanza, group);
      isRosterPush(stanza, 'me@lab.test');
      const { refreshInMs, stun, turn } = readServices(stanza, 0);
      assert.ok(refreshInMs >= 30_000 && refreshInMs <= 12 * 3_600_000);
      assert.ok(stun.length <= 8 && turn.length <= 8);
    }),
    { numRuns: 1_000 },
  );
}, 30_000);

const few = fc.constantFrom('a@l', 'b@l', 'me@l', 'eve@l');
const jid = fc.tuple(few, fc.constantFrom('1', '2')).map(([b, r]) => `${b}/${r}`);
const nodeId = fc.nat(4).map((n) => NodeId.parse(n.toString(16).padStart(32, '0')));
const rosterItems = fc.array(fc.record({ account: few, member: fc.boolean() }), { maxLength: 3 });
const input: fc.Arbitrary<MembershipInput> = fc.oneof(
  fc.record({
    kind: fc.constant('online' as const),
    jid: fc.constant('me@l/1'),
    roster: rosterItems,
  }),
  fc.record({ kind: fc.constant('roster-changed' as const), items: rosterItems }),
  fc.record({
    kind: fc.constant('announced' as const),
    jid: fc.oneof(jid, fc.string()),
    node: nodeId,
    name: fc.constantFrom('x', 'y'),
    leaf: fc.boolean(),
    addresses: fc.array(fc.constantFrom('10.77.0.1', 'fd77::1'), { maxLength: 2 }),
    issuedAtMs: fc.nat(5),
  }),
  fc.record({ kind: fc.constant('unavailable' as const), jid: fc.oneof(jid, fc.string()) }),
  fc.constant({ kind: 'offline' as const }),
  fc.constant({ kind: 'settled' as const }),
);

test('whatever happens, only members are peers, a JID is of one node, and events agree', () => {
  const self = NodeId.parse('f'.repeat(32));
  fc.assert(
    fc.property(fc.array(input, { maxLength: 40 }), (inputs) => {
      let state = initialMembership(self, 'me@l');
      const reachable = new Set<NodeId>();
      for (const each of inputs) {
        const next = nextMembership(state, each);
        state = next.state;
        for (const effect of next.effects) {
          if (effect.kind === 'seen') reachable.add(effect.node);
          else if (!reachable.delete(effect.node)) {
            assert.equal(effect.reason, each.kind === 'settled' ? 'left' : 'removed');
          }
        }
        const jids = [...state.peers.values()].flatMap((p) => p.jid ?? []);
        assert.equal(new Set(jids).size, jids.length);
        for (const peer of state.peers.values()) assert.ok(isMember(state, peer.account));
        const now = [...state.peers].filter(([, p]) => p.jid !== null).map(([n]) => n);
        assert.deepEqual(new Set(now), reachable);
      }
    }),
    { numRuns: 1_000 },
  );
}, 30_000);

test('pins never hold two keys for a place or two places for a key', () => {
  const claim = fc.record({
    overlay: fc.constantFrom(lab, OverlayId.parse('two')),
    account: few,
    name: fc.constantFrom('x', 'y'),
    node: nodeId,
  });
  fc.assert(
    fc.property(fc.array(claim, { maxLength: 30 }), (claims) => {
      let pins: readonly Pin[] = [];
      for (const each of claims) {
        const verdict = judgeClaim(pins, each, '2026-01-01T00:00:00Z');
        if (verdict.kind === 'pinned') pins = verdict.pins;
      }
      const places = pins.map((p) => `${p.overlay} ${p.account} ${p.name}`);
      const keys = pins.map((p) => `${p.overlay} ${p.node}`);
      assert.equal(new Set(places).size, pins.length);
      assert.equal(new Set(keys).size, pins.length);
    }),
    runs,
  );
});
