/** Signed messages and announcements: what is believed, what is refused and why. */
import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { type NodeId, OverlayId } from '../../../../base/ids.ts';
import type { Admission, Opened } from '../../../../controller/identity/index.ts';
import type { PeerMessage } from '../../../../controller/peer-messages.ts';
import { suite, type T } from '../../../support/harness.ts';
import { makeAuthority, startMs, type TestAuthority } from '../../../support/identities.ts';

const test = suite('peer authority');
const lab = OverlayId.parse('lab');
const other = OverlayId.parse('other');
const hello: PeerMessage = { kind: 'ended', reason: 'hello' };
const place = { overlay: lab, jid: 'alice@lab.test/x', account: 'alice@lab.test' };

interface Pair {
  readonly alice: TestAuthority;
  readonly bob: TestAuthority;
  /** What bob makes of a text that came from alice. */
  readonly open: (text: string, overlay?: OverlayId, from?: NodeId) => Opened;
  readonly seal: () => string;
}

/** Alice's announcement was admitted by bob. */
async function pair(t: T): Promise<Pair> {
  const [alice, bob] = [await makeAuthority(t), await makeAuthority(t)];
  const announced = bob.authority.admit(alice.authority.announce(lab, place.jid, 'alice'), place);
  assert.equal(announced.kind, 'admitted');
  return {
    alice,
    bob,
    open: (text, overlay = lab, from = alice.identity.node) =>
      bob.authority.open(overlay, from, text),
    seal: () => alice.authority.seal(lab, bob.identity.node, hello),
  };
}

const refused = (opened: Opened, reason: string): void => {
  assert.equal(opened.kind === 'refused' ? opened.reason : opened.kind, reason);
};
const parse = (text: string): { body: string; signature: string } => JSON.parse(text);
const bodyOf = (text: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(parse(text).body, 'base64').toString());

/** An envelope over any body, signed with alice's key as a message unless said otherwise. */
function forge(
  { identity }: TestAuthority,
  body: unknown,
  context = 'evio peer message 1\0',
): string {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const signature = sign('sha256', Buffer.concat([Buffer.from(context), bytes]), {
    key: identity.privateKey,
    dsaEncoding: 'ieee-p1363',
  });
  return JSON.stringify({
    body: bytes.toString('base64'),
    signature: signature.toString('base64'),
  });
}

test('a message of an admitted peer is opened', async (t) => {
  const { open, seal } = await pair(t);
  assert.deepEqual(open(seal()), { kind: 'message', message: hello });
});

test('it is opened once: the second time it is a replay, and an older one too', async (t) => {
  const { open, seal } = await pair(t);
  const [first, second] = [seal(), seal()];
  assert.equal(open(second).kind, 'message');
  refused(open(second), 'replayed');
  refused(open(first), 'replayed');
  assert.equal(open(seal()).kind, 'message');
});

test('a message expires after its minute and the accepted skew', async (t) => {
  const { bob, open, seal } = await pair(t);
  const [inTime, late] = [seal(), seal()];
  bob.clock.wallMs = startMs + 60_000 + 300_000;
  assert.equal(open(inTime).kind, 'message');
  bob.clock.wallMs += 1;
  const opened = open(late);
  refused(opened, 'expired');
  assert.match(opened.kind === 'refused' ? opened.detail : '', /clocks differ by more than 300 s/);
});

test('a message of a clock far ahead is refused by name', async (t) => {
  const { alice, open, seal } = await pair(t);
  alice.clock.wallMs = startMs + 300_000;
  assert.equal(open(seal()).kind, 'message');
  alice.clock.wallMs = startMs + 400_000;
  const opened = open(seal());
  refused(opened, 'from-the-future');
  assert.match(opened.kind === 'refused' ? opened.detail : '', /400 s ahead of ours/);
});

test('a sender whose clock was set back is heard again once its old messages are dead', async (t) => {
  const { alice, bob, open } = await pair(t);
  const send = (sequence: number): Opened =>
    open(
      forge(alice, {
        ...bodyOf(alice.authority.seal(lab, bob.identity.node, hello)),
        sequence,
        expiresAtMs: bob.clock.wallMs + 60_000,
      }),
    );
  assert.equal(send(1_000).kind, 'message');
  refused(send(500), 'replayed');
  bob.clock.wallMs += 361_000;
  assert.equal(send(500).kind, 'message');
});

test('a message to another node, of another overlay or by another sender is refused', async (t) => {
  const { alice, bob, open, seal } = await pair(t);
  refused(open(alice.authority.seal(lab, alice.identity.node, hello)), 'wrong-recipient');
  refused(open(alice.authority.seal(other, bob.identity.node, hello)), 'wrong-overlay');
  refused(open(forge(alice, { ...bodyOf(seal()), from: bob.identity.node })), 'wrong-sender');
  refused(open(seal(), other), 'unknown-sender');
  refused(open(seal(), lab, bob.identity.node), 'unknown-sender');
});

test('a tampered message is refused, whatever was changed', async (t) => {
  const { alice, bob, open, seal } = await pair(t);
  const { body, signature } = parse(seal());
  const changed = Buffer.from(body, 'base64').toString().replace('hello', 'hellO');
  const envelope = (b: string, s: string): string => JSON.stringify({ body: b, signature: s });
  refused(open(envelope(Buffer.from(changed).toString('base64'), signature)), 'bad-signature');
  refused(open(envelope(body, Buffer.alloc(64).toString('base64'))), 'bad-signature');
  const bySomeoneElse = parse(bob.authority.seal(lab, bob.identity.node, hello));
  refused(open(envelope(body, bySomeoneElse.signature)), 'bad-signature');
  refused(open(forge(alice, bodyOf(seal()), 'evio announcement 1\0')), 'bad-signature');
  refused(open(forge(alice, bodyOf(seal()), '')), 'bad-signature');
});

test('a signed body that breaks the schema is refused', async (t) => {
  const { alice, open, seal } = await pair(t);
  const body = bodyOf(seal());
  for (const wrong of [
    { ...body, version: 1 },
    { ...body, extra: 1 },
    { ...body, sequence: 0 },
    { ...body, message: { kind: 'invoke', action: 'reboot' } },
    'not JSON',
    'null',
  ]) {
    refused(open(forge(alice, wrong)), 'malformed');
  }
});

test('what is no envelope, or too long, is refused before any signature is checked', async (t) => {
  const { open } = await pair(t);
  const signature = Buffer.alloc(64).toString('base64');
  for (const text of [
    '',
    '{}',
    '[]',
    'x'.repeat(20_000),
    JSON.stringify({ body: 'A'.repeat(16_384), signature }),
    JSON.stringify({ body: 'AAAA', signature: 'AAAA' }),
    JSON.stringify({ body: '<>', signature }),
    JSON.stringify({ body: 'AAAA', signature, more: 1 }),
  ]) {
    refused(open(text), 'malformed');
  }
});

test('a message that would be too long to accept is not even sent', async (t) => {
  const { alice, bob } = await pair(t);
  const reason = 'x'.repeat(20_000);
  assert.throws(
    () => alice.authority.seal(lab, bob.identity.node, { kind: 'ended', reason }),
    RangeError,
  );
});

test('sequences grow, also within one microsecond and when the clock goes back', async (t) => {
  const { alice, seal } = await pair(t);
  const sequence = (): number => Number(bodyOf(seal())['sequence']);
  const first = sequence();
  assert.equal(sequence(), first + 1);
  alice.clock.wallMs -= 10_000;
  assert.equal(sequence(), first + 2);
});

const detailOf = (admission: Admission): string =>
  admission.kind === 'refused' ? admission.detail : admission.kind;

test('an announcement is good at its full JID and in its overlay only', async (t) => {
  const { alice, bob } = await pair(t);
  const text = alice.authority.announce(lab, place.jid, 'alice');
  const admit = (at: Partial<typeof place>): string =>
    detailOf(bob.authority.admit(text, { ...place, ...at }));
  assert.match(admit({ jid: 'mallory@lab.test/x' }), /was made for alice@lab.test\/x/);
  assert.match(admit({ overlay: other }), /announces overlay lab/);
  assert.equal(admit({}), 'admitted');
});

test('an announcement is refused when key, id, version, time or signature are wrong', async (t) => {
  const { alice, bob } = await pair(t);
  const good = bodyOf(alice.authority.announce(lab, place.jid, 'alice'));
  const context = 'evio announcement 1\0';
  const admit = (change: object, signer = alice, kind = context): string =>
    detailOf(bob.authority.admit(forge(signer, { ...good, ...change }, kind), place));
  assert.equal(admit({}), 'admitted');
  assert.match(admit({ node: bob.identity.node }), /its key gives/);
  assert.match(admit({}, bob), /signature is wrong/);
  assert.match(admit({}, alice, 'evio peer message 1\0'), /signature is wrong/);
  assert.match(admit({ version: 1 }), /speaks version 1 .* this node speaks 3/);
  assert.match(admit({ issuedAtMs: startMs + 400_000 }), /400 s ahead/);
  assert.match(admit({ certificate: 'AAAA' }), /not an X.509 certificate/);
  assert.match(admit({ certificate: 'A'.repeat(4_100) }), /malformed: certificate/);
  assert.match(admit({ name: '' }), /malformed: name/);
  assert.match(detailOf(bob.authority.admit('nonsense', place)), /no envelope/);
});

test('a second key for the same account and name is refused, also for messages', async (t) => {
  const { alice, bob, open } = await pair(t);
  const mallory = await makeAuthority(t);
  const admission = bob.authority.admit(mallory.authority.announce(lab, place.jid, 'alice'), place);
  assert.equal(admission.kind === 'refused' && admission.reason, 'untrusted');
  assert.match(detailOf(admission), new RegExp(`pinned is ${alice.identity.node}`));
  const text = mallory.authority.seal(lab, bob.identity.node, hello);
  refused(open(text, lab, mallory.identity.node), 'unknown-sender');
});
