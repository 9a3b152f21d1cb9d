/** Presences and messages as they come from the server: what is believed, dropped and counted. */
import assert from 'node:assert/strict';
import { OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import { Bus } from '../../../../controller/bus.ts';
import type { BusEvent } from '../../../../controller/events.ts';
import { parseJid } from '../../../../controller/signal/core/jid.ts';
import type { Stanza } from '../../../../controller/signal/core/stanza.ts';
import { Members } from '../../../../controller/signal/members.ts';
import {
  announcePresence,
  leavePresence,
  peerMessage,
} from '../../../../controller/signal/stanzas-out.ts';
import { suite, type T } from '../../../support/harness.ts';
import { makeAuthority, type TestAuthority } from '../../../support/identities.ts';

const test = suite('members');
const overlay = OverlayId.parse('lab');
const own = 'me@lab.test';
const bobJid = 'bob@lab.test/1';
const carolJid = 'carol@lab.test/1';

interface Stage {
  readonly me: TestAuthority;
  readonly bob: TestAuthority;
  readonly members: Members;
  readonly published: BusEvent[];
  /** Names of the events so far. */
  readonly names: () => readonly string[];
}

/** Bob and carol are in the roster; nobody is reachable yet. */
async function stage(t: T): Promise<Stage> {
  const [me, bob] = [await makeAuthority(t), await makeAuthority(t)];
  const bus = new Bus(silentLogger);
  const published: BusEvent[] = [];
  bus.tap(t.signal, (event) => published.push(event));
  const account = parseJid(own);
  assert.ok(account);
  const config = {
    overlay,
    host: 'h',
    port: 1,
    tls: 'starttls' as const,
    username: own,
    password: null,
    clientCertificate: null,
    caPem: null,
    rosterGroup: null,
    nodeName: 'me',
    leaf: false,
    addresses: [],
  };
  const deps = {
    port: bus.port('signal'),
    clock: { ...me.clock, now: () => me.clock.wallMs },
    random: () => 0.5,
    log: silentLogger,
    self: me.identity.node,
    authority: me.authority,
    overlays: [config],
  };
  const members = new Members(config, account, deps, silentLogger, () => {});
  const roster = ['bob@lab.test', 'carol@lab.test'].map((a) => ({ account: a, member: true }));
  members.advance({ kind: 'online', jid: `${own}/x`, roster });
  return { me, bob, members, published, names: () => published.map((e) => e.name) };
}

const from = (jid: string, stanza: Stanza): Stanza => ({
  ...stanza,
  attributes: new Map([...stanza.attributes, ['from', jid]]),
});
const announce = ({ authority }: TestAuthority, jid: string, name = 'bob'): Stanza =>
  from(jid, announcePresence(authority.announce(overlay, jid, name)));
const say = (sender: TestAuthority, to: TestAuthority, jid: string, reason = 'x'): Stanza => {
  const message = { kind: 'ended' as const, reason };
  return from(jid, peerMessage('me', sender.authority.seal(overlay, to.identity.node, message)));
};

test('a member that announces itself is seen, heard, and gone when it leaves', async (t) => {
  const { me, bob, members, names } = await stage(t);
  members.receivePresence(announce(bob, bobJid));
  members.receiveMessage(say(bob, me, bobJid));
  members.receivePresence(from(bobJid, leavePresence));
  members.receiveMessage(say(bob, me, bobJid));
  assert.deepEqual(names(), ['signal.peerSeen', 'signal.messageReceived', 'signal.peerLost']);
  assert.equal(members.counters.refusedMessages, 1);
});

test('presence without our element is as good as gone', async (t) => {
  const { bob, members, names } = await stage(t);
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(from(bobJid, { ...leavePresence, attributes: new Map() }));
  assert.deepEqual(names(), ['signal.peerSeen', 'signal.peerLost']);
});

test('nothing of a stranger is verified, answered or published', async (t) => {
  const { me, bob, members, names } = await stage(t);
  const jid = 'eve@lab.test/1';
  members.receivePresence(announce(bob, jid));
  members.receiveMessage(say(bob, me, jid));
  assert.deepEqual(names(), []);
  assert.equal(members.counters.strangerStanzas, 2);
  assert.equal(me.pins.list().length, 0);
});

test('a member cannot speak as another one, by JID or by key', async (t) => {
  const { me, bob, members, names } = await stage(t);
  const carol = await makeAuthority(t);
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(announce(carol, carolJid, 'carol'));
  members.receiveMessage(say(carol, me, bobJid)); // the JID of bob, the key of carol
  members.receiveMessage(say(bob, me, carolJid)); // a message of bob that carol passes on
  members.receivePresence(from(carolJid, announce(bob, bobJid))); // bob's announcement, repeated
  assert.deepEqual(
    names().filter((n) => n === 'signal.messageReceived'),
    [],
  );
  assert.equal(members.counters.refusedMessages, 2);
  assert.equal(members.counters.refusedAnnouncements, 1);
});

test('a replayed message is dropped', async (t) => {
  const { me, bob, members, names } = await stage(t);
  members.receivePresence(announce(bob, bobJid));
  const message = say(bob, me, bobJid);
  members.receiveMessage(message);
  members.receiveMessage(message);
  assert.deepEqual(names(), ['signal.peerSeen', 'signal.messageReceived']);
});

test('another key for a pinned name is refused, and reported once a minute', async (t) => {
  const { me, bob, members, published } = await stage(t);
  const other = await makeAuthority(t);
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(from(bobJid, leavePresence));
  for (let n = 0; n < 5; n += 1) members.receivePresence(announce(other, bobJid));
  const reports = () =>
    published.flatMap((e) => (e.name === 'signal.peerRefused' ? [e.event] : []));
  assert.equal(reports().length, 1);
  assert.equal(reports()[0]?.name, 'bob');
  assert.equal(reports()[0]?.problem.code, 'peer.untrusted');
  me.clock.wallMs += 60_000;
  members.receivePresence(announce(other, bobJid));
  assert.equal(reports().length, 2);
  assert.equal(members.counters.refusedAnnouncements, 6);
});

test('a member that floods is cut to its rate, and others are heard', async (t) => {
  const { me, bob, members, names } = await stage(t);
  const carol = await makeAuthority(t);
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(announce(carol, carolJid, 'carol'));
  for (let n = 0; n < 300; n += 1) members.receiveMessage(say(bob, me, bobJid));
  const heard = () => names().filter((n) => n === 'signal.messageReceived').length;
  assert.equal(heard(), 200);
  assert.equal(members.counters.limitedStanzas, 100);
  members.receiveMessage(say(carol, me, carolJid));
  assert.equal(heard(), 201);
  for (let n = 0; n < 50; n += 1) members.receivePresence(announce(bob, bobJid));
  assert.equal(members.counters.limitedStanzas, 100 + 41);
});

test('payloads that are too long or no base64 are refused', async (t) => {
  const { bob, members } = await stage(t);
  members.receivePresence(announce(bob, bobJid));
  const message = peerMessage('me', 'x');
  for (const text of ['', '<>', 'A'.repeat(100_000), 'AAAA']) {
    const children = message.children.map((c) => ({ ...c, text }));
    members.receiveMessage(from(bobJid, { ...message, children }));
  }
  assert.equal(members.counters.refusedMessages, 4);
});

const added = (account: string) => ({
  kind: 'roster-changed' as const,
  items: [{ account, member: true }],
});

// ejabberd sends the presences of a new member before the roster push that makes it one.
test('a presence that comes before its roster push counts once that has come', async (t) => {
  const { bob, members, names } = await stage(t);
  const [jid, gone] = ['dave@lab.test/1', 'dave@lab.test/2'];
  members.receivePresence(announce(bob, jid));
  members.receivePresence(announce(bob, gone));
  members.receivePresence(from(gone, leavePresence));
  members.advance(added('eve@lab.test'));
  assert.deepEqual(names(), []);
  members.advance(added('dave@lab.test'));
  members.advance(added('dave@lab.test'));
  assert.deepEqual(names(), ['signal.peerSeen']);
  assert.equal(members.state.peers.get(bob.identity.node)?.jid, jid);
});

test('of strangers only the latest presences are kept, and none over a login', async (t) => {
  const { bob, members, names } = await stage(t);
  members.receivePresence(announce(bob, 'dave@lab.test/1'));
  for (let n = 0; n < 128; n += 1) members.receivePresence(announce(bob, `eve@lab.test/${n}`));
  members.advance(added('dave@lab.test'));
  assert.deepEqual(names(), []);
  members.advance({ kind: 'offline' });
  members.advance(added('eve@lab.test'));
  assert.deepEqual(names(), []);
});

test('a peer that is no longer trusted is lost, as one that was removed', async (t) => {
  const { me, bob, members, published, names } = await stage(t);
  members.receivePresence(announce(bob, bobJid));
  members.rejudge();
  assert.deepEqual(names(), ['signal.peerSeen']);
  const [pin] = me.pins.list();
  assert.ok(pin);
  await me.pins.forget(pin);
  members.rejudge();
  members.rejudge();
  assert.deepEqual(names(), ['signal.peerSeen', 'signal.peerLost', 'signal.peerRefused']);
  const lost = published.find((e) => e.name === 'signal.peerLost');
  assert.equal(lost?.event.reason, 'removed');
  const before = members.counters.refusedMessages;
  members.receiveMessage(say(bob, me, bobJid));
  assert.equal(members.counters.refusedMessages, before + 1, 'its messages count for nothing');
});

test('a refused key is judged again by the last presence, and is in once it is accepted', async (t) => {
  const { me, bob, members, published, names } = await stage(t);
  const fresh = await makeAuthority(t);
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(announce(fresh, `${bobJid}-new`));
  const refused = published.find((e) => e.name === 'signal.peerRefused');
  const [from, to] = [bob.identity.node, fresh.identity.node];
  assert.deepEqual(refused?.event.change, { from, to });
  members.rejudge();
  assert.equal(names().length, 2, 'nothing has changed');
  await me.pins.accept({ overlay, account: 'bob@lab.test', name: 'bob', from, to });
  members.rejudge();
  const seen = published.filter((e) => e.name === 'signal.peerSeen').map((e) => e.event.peer);
  assert.deepEqual(seen, [from, to]);
  assert.equal(members.jidOf(from), null);
  assert.equal(members.jidOf(to), `${bobJid}-new`);
});

test('a refused one that has left or is no member any more is not judged again', async (t) => {
  const { me, bob, members, names } = await stage(t);
  const [fresh, other] = [await makeAuthority(t), await makeAuthority(t)];
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(announce(fresh, `${bobJid}-new`));
  members.receivePresence(from(`${bobJid}-new`, leavePresence));
  const place = { overlay, account: 'bob@lab.test', name: 'bob' };
  await me.pins.accept({ ...place, from: bob.identity.node, to: fresh.identity.node });
  members.rejudge();
  assert.equal(names().filter((name) => name === 'signal.peerSeen').length, 1);
  members.receivePresence(announce(other, `${bobJid}-other`));
  members.advance({
    kind: 'roster-changed',
    items: [{ account: 'bob@lab.test', member: false }],
  });
  await me.pins.accept({ ...place, from: fresh.identity.node, to: other.identity.node });
  members.rejudge();
  assert.equal(names().filter((name) => name === 'signal.peerSeen').length, 1);
});

test('a message in-band is heard from a member that is not reachable, once', async (t) => {
  const { me, bob, members, names } = await stage(t);
  members.receivePresence(announce(bob, bobJid));
  members.advance({ kind: 'offline' });
  const message = { kind: 'link-ended' as const, claim: 1, leaving: false };
  const envelope = bob.authority.seal(overlay, me.identity.node, message);
  members.receiveInBand(bob.identity.node, envelope);
  members.receiveInBand(bob.identity.node, envelope);
  assert.deepEqual(names(), ['signal.peerSeen', 'signal.peerLost', 'signal.messageReceived']);
  assert.equal(members.counters.receivedInBand, 2);
  assert.equal(members.counters.refusedMessages, 1, 'the second time it is a replay');
});

test('what comes in-band is checked like anything: signature, sender, membership, rate', async (t) => {
  const { me, bob, members, names } = await stage(t);
  const carol = await makeAuthority(t);
  members.receivePresence(announce(bob, bobJid));
  members.receivePresence(announce(carol, carolJid, 'carol'));
  const message = { kind: 'ended' as const, reason: 'x' };
  const ofCarol = carol.authority.seal(overlay, me.identity.node, message);
  members.receiveInBand(bob.identity.node, ofCarol); // over bob's session
  members.receiveInBand(bob.identity.node, 'garbage');
  const stranger = await makeAuthority(t);
  const ofStranger = stranger.authority.seal(overlay, me.identity.node, message);
  members.receiveInBand(stranger.identity.node, ofStranger);
  const items = [{ account: 'bob@lab.test', member: false }];
  members.advance({ kind: 'roster-changed', items });
  const ofBob = bob.authority.seal(overlay, me.identity.node, message);
  members.receiveInBand(bob.identity.node, ofBob);
  assert.ok(!names().includes('signal.messageReceived'));
  assert.equal(members.counters.refusedMessages, 4);
  for (let n = 0; n < 300; n += 1) members.receiveInBand(carol.identity.node, 'garbage');
  assert.ok(members.counters.limitedStanzas > 50);
});

test('what a member says of itself is seen: that it is a leaf, which addresses its host has', async (t) => {
  const { bob, members, published } = await stage(t);
  const addresses = ['10.77.0.2', 'fd77::2'];
  const text = bob.authority.announce(overlay, bobJid, 'bob', { leaf: true, addresses });
  members.receivePresence(from(bobJid, announcePresence(text)));
  const [seen] = published;
  assert.ok(seen?.name === 'signal.peerSeen' && seen.event.leaf);
  assert.deepEqual(seen.event.addresses, addresses);
});

test('pod ranges are told as they are announced, and when they are not any more', async (t) => {
  const { bob, members, published } = await stage(t);
  const pods = { addresses: ['10.77.0.2'], ranges: ['10.42.2.0/24'] };
  const say = (what: typeof pods | null): void => {
    bob.clock.wallMs += 1_000;
    const said = { addresses: pods.addresses, podRanges: what?.ranges ?? null };
    const text = bob.authority.announce(overlay, bobJid, 'bob', said);
    members.receivePresence(from(bobJid, announcePresence(text)));
  };
  say(null); // who never had any is not mentioned
  say(pods);
  say(null);
  const told = published.flatMap((e) => (e.name === 'signal.podsAnnounced' ? [e.event.pods] : []));
  assert.deepEqual(told, [pods, null]);
});
