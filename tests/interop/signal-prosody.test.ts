/**
 * Signalling against a real Prosody: login, members, messages, refusals, restart. Topology: server
 * and nodes on loopback, each node with an identity and a bus of its own.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Secret } from '../../base/secret.ts';
import { defaultBackoff } from '../../controller/signal/core/backoff.ts';
import { type Jid, parseJid } from '../../controller/signal/core/jid.ts';
import type { Stanza } from '../../controller/signal/core/stanza.ts';
import type { OverlaySignalConfig } from '../../controller/signal/index.ts';
import { announcePresence, peerMessage, pingRequest } from '../../controller/signal/stanzas-out.ts';
import { openStream } from '../../controller/signal/xmpp/stream.ts';
import { type Ca, createCa } from '../support/ca.ts';
import { suite, type T } from '../support/harness.ts';
import { createLab } from '../support/netns.ts';
import { assertWithin } from '../support/pace.ts';
import { type Prosody, type ProsodyOptions, startProsody } from '../support/prosody.ts';
import { waitFor } from '../support/scope.ts';
import {
  ended,
  type NodeOptions,
  overlay,
  type SignalNode,
  startNode,
} from '../support/signal-node.ts';

const test = suite('signalling with Prosody');
const users = { alice: 'alice-password', bob: 'bob-password', eve: 'eve-password' };
const groups = { 'overlay-lab': ['alice', 'bob'] };

type Config = Partial<OverlaySignalConfig>;
type More = Pick<NodeOptions, 'policy' | 'stateDirectory'>;

interface Stage {
  readonly ca: Ca;
  readonly server: Prosody;
  readonly node: (user: string, config?: Config, more?: More) => Promise<SignalNode>;
}

async function stage(t: T, options: ProsodyOptions = {}): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'evio-ca-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const lab = await createLab(t);
  const ca = await createCa(folder);
  const server = await startProsody(lab, { ca, users, groups, scram: 'SHA-256', ...options });
  const { address: host, port } = server;
  const caPem = readFileSync(ca.certFile, 'utf8');
  return {
    ca,
    server,
    node: (user, config = {}, more = {}) =>
      startNode(t, { user, ...more, config: { host, port, caPem, ...config } }),
  };
}

const online = (node: SignalNode, timeoutMs = 5_000, skip = 0) =>
  node.expect('signal.stateChanged', (e) => e.state === 'online', timeoutMs, skip);
const sees = (node: SignalNode, other: SignalNode, skip = 0) =>
  node.expect('signal.peerSeen', (e) => e.peer === other.id, 5_000, skip);

async function talk(a: SignalNode, b: SignalNode): Promise<void> {
  await Promise.all([sees(a, b), sees(b, a)]);
  a.send(b.id, ended('from a'));
  b.send(a.id, ended('from b'));
  const atB = await b.expect('signal.messageReceived', () => true);
  const atA = await a.expect('signal.messageReceived', () => true);
  assert.equal(atB.from, a.id);
  assert.deepEqual(atB.message, ended('from a'));
  assert.equal(atA.from, b.id);
  assert.deepEqual(atA.message, ended('from b'));
}

for (const scram of ['SHA-1', 'SHA-256'] as const) {
  test(`two members of a group see each other and talk, SCRAM-${scram}`, async (t) => {
    const { node } = await stage(t, { scram });
    const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
    await talk(alice, bob);
    assert.deepEqual(
      alice.events('signal.stateChanged').map((e) => e.state),
      ['connecting', 'online'],
    );
    assert.equal(alice.events('signal.peerSeen')[0]?.account, 'bob@lab.test');
    assert.equal(alice.events('signal.peerSeen')[0]?.name, 'bob');
  }, 20_000);
}

for (const tls of ['starttls', 'direct'] as const) {
  test(`a client certificate logs in by EXTERNAL, ${tls}`, async (t) => {
    const { ca, node, server } = await stage(t, { authentication: 'ccert', users: {} });
    const files = await ca.issue({ name: 'alice', jid: 'alice@lab.test' });
    const clientCertificate = {
      certificate: readFileSync(files.certFile, 'utf8'),
      key: new Secret(readFileSync(files.keyFile, 'utf8')),
    };
    const port = tls === 'direct' ? server.directTlsPort : server.port;
    const by = { port, tls, password: null, clientCertificate };
    const alice = await node('alice', by);
    await online(alice);
    const other = await node('alice', { ...by, nodeName: 'second' });
    await talk(alice, other);
    const bob = await node('bob', by);
    const refused = await problem(bob, 'signal.auth-failed');
    assert.equal(refused.state, 'refused');
  }, 20_000);

  test(`a password logs in, ${tls}`, async (t) => {
    const { node, server } = await stage(t);
    const port = tls === 'direct' ? server.directTlsPort : server.port;
    await talk(...(await Promise.all([node('alice', { port, tls }), node('bob', { port, tls })])));
  }, 20_000);
}

test('two nodes share one account', async (t) => {
  const { node } = await stage(t);
  await talk(await node('alice'), await node('alice', { nodeName: 'second' }));
}, 20_000);

test('only the configured group makes members; others reach nothing', async (t) => {
  const { node } = await stage(t, { groups: { ...groups, all: ['alice', 'eve'] } });
  const alice = await node('alice', { rosterGroup: 'overlay-lab' });
  const [bob, eve] = await Promise.all([node('bob'), node('eve')]);
  await Promise.all([sees(alice, bob), sees(eve, alice)]);
  await waitFor('the announcement is dropped', () => counters(alice).strangerStanzas > 0);
  assert.equal(alice.events('signal.peerSeen').length, 1);
  const before = counters(alice).strangerStanzas;
  eve.send(alice.id, ended('from outside the group'));
  await waitFor('the message is dropped', () => counters(alice).strangerStanzas > before);
  assert.equal(alice.events('signal.messageReceived').length, 0);
  assert.equal(alice.events('signal.peerRefused').length, 0);
}, 20_000);

test('a stranger on the server sees nothing, and a message of his is dropped', async (t) => {
  const { server, node, ca } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await talk(alice, bob);
  const received: Stanza[] = [];
  const eve = await openStream(
    {
      account: mustParse('eve@lab.test'),
      resource: 'x',
      host: server.address,
      port: server.port,
      tls: 'starttls',
      password: new Secret(users.eve),
      clientCertificate: null,
      caPem: readFileSync(ca.certFile, 'utf8'),
      connectTimeoutMs: 5_000,
      loginTimeoutMs: 5_000,
    },
    { stanza: (stanza) => received.push(stanza), ended: () => {} },
    t.signal,
  );
  t.defer(() => eve.close());
  const jid = alice.signal.snapshot()[0]?.jid ?? '';
  eve.send(announcePresence('hello'));
  eve.send({ ...announcePresence('hello'), attributes: new Map([['to', jid]]) });
  eve.send(peerMessage(jid, bob.authority.seal(overlay, alice.id, ended('stolen'))));
  const ping = pingRequest(jid);
  eve.send({ ...ping, attributes: new Map([...ping.attributes, ['id', 'x']]) });
  await waitFor('all three are dropped', () => counters(alice).strangerStanzas === 3);
  // The server answers after all that it could have delivered before.
  await eve.request(pingRequest('lab.test'), 5_000);
  assert.deepEqual(
    received.filter((s) => (s.attributes.get('from') ?? '').startsWith('alice')),
    [],
  );
  assert.equal(alice.events('signal.peerRefused').length, 0);
  assert.equal(alice.events('signal.messageReceived').length, 1);
}, 20_000);

test('a wrong password is refused and not tried again soon', async (t) => {
  const { node, server } = await stage(t);
  const alice = await node('alice', { password: new Secret('wrong') });
  const refused = await problem(alice, 'signal.auth-failed');
  assert.equal(refused.state, 'refused');
  assert.ok((refused.retryInMs ?? 0) >= 300_000);
  assert.match(refused.problem?.message ?? '', /not-authorized/);
  await setTimeout(3_000); // that nothing happens needs time to not happen in
  assert.equal(alice.events('signal.stateChanged').length, 2);
  assert.ok(!JSON.stringify(alice.events('signal.stateChanged')).includes('wrong'));
  assert.equal(server.log().match(/Client connected/g)?.length, 1);
}, 20_000);

test('a repeated refusal doubles the wait', async (t) => {
  const { node } = await stage(t);
  const backoff = { ...defaultBackoff, refusedMs: 200, refusedCapMs: 60_000 };
  const alice = await node('alice', { password: new Secret('wrong') }, { policy: { backoff } });
  const waits = () =>
    alice
      .events('signal.stateChanged')
      .flatMap((e) => (e.state === 'refused' ? [e.retryInMs] : []));
  await waitFor('three refusals', () => waits().length >= 3, { timeoutMs: 8_000 });
  assert.deepEqual(waits().slice(0, 3), [210, 420, 840]);
}, 20_000);

test('a server without TLS is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'evio-ca-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const server = await startProsody(await createLab(t), { users, groups });
  const { address: host, port } = server;
  const alice = await startNode(t, { user: 'alice', config: { host, port } });
  const refused = await problem(alice, 'signal.no-tls');
  assert.equal(refused.state, 'offline');
  assert.ok((refused.retryInMs ?? 0) >= 60_000);
}, 20_000);

test('a server of an unknown CA is refused, also with the system CAs', async (t) => {
  const { node, server } = await stage(t);
  const folder = mkdtempSync(join(tmpdir(), 'evio-ca-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const other = readFileSync((await createCa(folder)).certFile, 'utf8');
  for (const caPem of [other, null]) {
    for (const tls of ['starttls', 'direct'] as const) {
      const port = tls === 'direct' ? server.directTlsPort : server.port;
      const alice = await node('alice', { caPem, tls, port });
      const refused = await problem(alice, 'signal.certificate');
      assert.ok((refused.retryInMs ?? 0) >= 60_000);
      await alice.signal.stop();
    }
  }
  assert.doesNotMatch(server.log(), /Authenticated as/);
}, 20_000);

test('a certificate of another domain is refused, though the host is right', async (t) => {
  const { node, server } = await stage(t, { certificateNames: ['localhost', 'other.test'] });
  const alice = await node('alice', { host: 'localhost' });
  const direct = { host: 'localhost', tls: 'direct' as const, port: server.directTlsPort };
  const bob = await node('bob', direct);
  for (const each of [alice, bob]) {
    const refused = await problem(each, 'signal.certificate');
    assert.match(refused.problem?.message ?? '', /lab\.test/);
  }
}, 20_000);

test('a certificate that has expired or is not yet valid is refused, and the clock is named', async (t) => {
  const times = [
    ['past', /expired.*clock of this host says 20/],
    ['future', /not yet valid.*clock of this host says 20/],
  ] as const;
  for (const [certificateValidity, says] of times) {
    const { node } = await stage(t, { certificateValidity });
    const refused = await problem(await node('alice'), 'signal.certificate');
    assert.match(refused.problem?.message ?? '', says);
  }
}, 20_000);

test('after a restart of the server all are back and talk', async (t) => {
  const { node, server } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await talk(alice, bob);
  await server.kill('SIGKILL');
  const lost = await alice.expect('signal.peerLost', (e) => e.peer === bob.id);
  assert.equal(lost.reason, 'signal-lost');
  await problem(alice, 'signal.unreachable', 8_000);
  alice.send(bob.id, ended('kept while the server is away'));
  const { number } = await alice.expect('signal.envelopeSealed', (e) => e.to === bob.id);
  alice.links.publish('links.envelopeRefused', { overlay, to: bob.id, number });
  await server.start();
  await Promise.all(
    [alice, bob].map((n) =>
      n.expect('signal.stateChanged', (e) => e.state === 'online', 15_000, 3),
    ),
  );
  const kept = (e: { readonly message: unknown }) =>
    JSON.stringify(e.message).includes('kept while');
  await bob.expect('signal.messageReceived', kept, 10_000);
}, 40_000);

test('a server that hangs is noticed by the ping, and used again when it answers', async (t) => {
  const { node, server } = await stage(t);
  const policy = { pingEveryMs: 200, pingDeadlineMs: 500, loginTimeoutMs: 1_000 };
  const alice = await node('alice', {}, { policy });
  await online(alice);
  server.child().kill('SIGSTOP');
  t.defer(() => server.child().kill('SIGCONT'));
  const lost = await problem(alice, 'signal.disconnected');
  assert.match(lost.problem?.message ?? '', /does not answer/);
  server.child().kill('SIGCONT');
  const isBack = (e: { readonly state: string }): boolean => e.state === 'online';
  await alice.expect('signal.stateChanged', isBack, 10_000, 2);
}, 20_000);

test('a node that stops has left for the others at once', async (t) => {
  const { node } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await Promise.all([sees(alice, bob), sees(bob, alice)]);
  const started = performance.now();
  await bob.signal.stop();
  await assertWithin('the stop', performance.now() - started, 2_000);
  const left = await alice.expect('signal.peerLost', (e) => e.peer === bob.id);
  assert.equal(left.reason, 'left');
  await assertWithin('the others know', performance.now() - started, 5_000);
  assert.equal(bob.events('signal.stateChanged').at(-1)?.state, 'stopped');
}, 20_000);

test('a member that is no longer in the group after a restart is removed', async (t) => {
  const { node, server } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await Promise.all([sees(alice, bob), sees(bob, alice)]);
  server.setGroups({ 'overlay-lab': ['alice'] });
  await server.restart();
  await alice.expect('signal.peerLost', (e) => e.peer === bob.id && e.reason === 'removed', 10_000);
}, 30_000);

test('another key under the same account and name is refused and reported', async (t) => {
  const { node } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await sees(alice, bob);
  await bob.signal.stop();
  await node('bob'); // a new folder: another key
  const refused = await alice.expect('signal.peerRefused', (e) => e.name === 'bob');
  assert.equal(refused.problem.code, 'peer.untrusted');
  assert.match(refused.problem.message, new RegExp(bob.id));
  assert.equal(alice.events('signal.peerSeen').length, 1);
}, 20_000);

test('a node that comes back after a crash is seen again, with its old key', async (t) => {
  const { node } = await stage(t);
  const alice = await node('alice');
  const bob = await node('bob');
  await sees(alice, bob);
  // The same identity logs in beside the first: the server ends the first, as after a crash.
  const again = await node('bob', {}, { stateDirectory: bob.stateDirectory });
  await problem(bob, 'signal.disconnected');
  await bob.signal.stop();
  await online(again);
  await waitFor('bob is reachable', () => alice.signal.snapshot()[0]?.peers[0]?.isReachable);
  again.send(alice.id, ended('again'));
  await alice.expect('signal.messageReceived', (e) => e.from === bob.id);
}, 20_000);

test('TURN servers that the server offers are published, with credentials hidden', async (t) => {
  const turn = { address: '192.0.2.1', port: 3478, secret: 'turn-secret' };
  const { node } = await stage(t, { turn });
  const alice = await node('alice');
  const offered = await alice.expect('signal.serversOffered', () => true);
  assert.deepEqual(offered.stun, [{ host: '192.0.2.1', port: 3478 }]);
  assert.deepEqual(
    offered.turn.map((s) => [s.host, s.transport, String(s.password)]),
    [['192.0.2.1', 'udp', '***']],
  );
  assert.ok((offered.turn[0]?.password.reveal().length ?? 0) > 10);
}, 20_000);

test('a name that does not resolve and a closed port are told apart, and tried on', async (t) => {
  const more = { policy: { backoff: { ...defaultBackoff, firstMs: 10, baseMs: 10 } } };
  const config = { host: 'xmpp.invalid', port: 5222 };
  const alice = await startNode(t, { user: 'alice', config, ...more });
  const bob = await startNode(t, { user: 'bob', config: { host: '127.0.0.1', port: 1 }, ...more });
  await problem(alice, 'signal.unresolvable', 8_000);
  await problem(bob, 'signal.unreachable');
  await waitFor('bob tries on', () => bob.events('signal.stateChanged').length > 6);
}, 20_000);

function mustParse(text: string): Jid {
  const jid = parseJid(text);
  assert.ok(jid);
  return jid;
}
const counters = (node: SignalNode) => {
  const [snapshot] = node.signal.snapshot();
  assert.ok(snapshot);
  return snapshot.counters;
};
const problem = (node: SignalNode, code: string, timeoutMs = 5_000) =>
  node.expect('signal.stateChanged', (e) => e.problem?.code === code, timeoutMs);

test('while the server is down a message goes in-band, and is believed once', async (t) => {
  const { node, server } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await talk(alice, bob);
  await server.kill('SIGKILL');
  for (const each of [alice, bob]) {
    await each.expect('signal.stateChanged', (e) => e.state === 'offline');
    await each.expect('signal.peerLost', (e) => e.reason === 'signal-lost');
  }
  alice.send(bob.id, { kind: 'link-request', claim: 1, reason: 'static' });
  const sealed = await alice.expect('signal.envelopeSealed', (e) => e.to === bob.id);
  const { envelope } = sealed;
  bob.links.publish('links.envelopeReceived', { overlay, from: alice.id, envelope });
  const heard = await bob.expect('signal.messageReceived', () => true, 5_000, 1);
  assert.deepEqual(heard, {
    overlay,
    from: alice.id,
    message: { kind: 'link-request', claim: 1, reason: 'static' },
  });
  bob.links.publish('links.envelopeReceived', { overlay, from: alice.id, envelope });
  assert.equal(bob.events('signal.messageReceived').length, 2, 'a replay');

  const [counters] = alice.signal.snapshot().map((each) => each.counters);
  assert.deepEqual([counters?.sentInBand, counters?.receivedInBand], [1, 0]);

  // Nobody says what became of it, and the server is back: it is said there too.
  alice.send(bob.id, { kind: 'link-ended', claim: 2, leaving: false });
  await server.start();
  await bob.expect('signal.messageReceived', (e) => e.message.kind === 'link-ended', 30_000);
}, 60_000);
