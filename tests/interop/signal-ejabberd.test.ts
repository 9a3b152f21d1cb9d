/**
 * Signalling against a real ejabberd, whose groups change while nodes are online. Topology: server
 * and nodes on loopback, each node with an identity and a bus of its own.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Secret } from '../../base/secret.ts';
import type { OverlaySignalConfig } from '../../controller/signal/index.ts';
import { type Ca, createCa } from '../support/ca.ts';
import { type Ejabberd, type EjabberdOptions, startEjabberd } from '../support/ejabberd.ts';
import { suite, type T } from '../support/harness.ts';
import { createLab } from '../support/netns.ts';
import { assertWithin } from '../support/pace.ts';
import { ended, type SignalNode, startNode } from '../support/signal-node.ts';

const test = suite('signalling with ejabberd');

interface Stage {
  readonly ca: Ca;
  readonly server: Ejabberd;
  readonly node: (user: string, config?: Partial<OverlaySignalConfig>) => Promise<SignalNode>;
}

async function stage(t: T, options: Partial<EjabberdOptions> = {}): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'evio-ca-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  const ca = await createCa(folder);
  const server = await startEjabberd(await createLab(t), {
    ca,
    users: { alice: 'alice-password', bob: 'bob-password' },
    groups: { lab: ['alice', 'bob'] },
    ...options,
  });
  const caPem = readFileSync(ca.certFile, 'utf8');
  const { address: host, port } = server;
  return {
    ca,
    server,
    node: (user, config = {}) => startNode(t, { user, config: { host, port, caPem, ...config } }),
  };
}

async function clientOf(ca: Ca, user: string) {
  const files = await ca.issue({ name: user, jid: `${user}@lab.test` });
  return {
    certificate: readFileSync(files.certFile, 'utf8'),
    key: new Secret(readFileSync(files.keyFile, 'utf8')),
  };
}

async function talk(a: SignalNode, b: SignalNode): Promise<void> {
  await Promise.all([
    a.expect('signal.peerSeen', (e) => e.peer === b.id, 10_000),
    b.expect('signal.peerSeen', (e) => e.peer === a.id, 10_000),
  ]);
  a.send(b.id, ended('from a'));
  b.send(a.id, ended('from b'));
  await b.expect('signal.messageReceived', (e) => e.from === a.id);
  await a.expect('signal.messageReceived', (e) => e.from === b.id);
}

for (const scram of ['SHA-1', 'SHA-256'] as const) {
  test(`two members see each other and talk, SCRAM-${scram}, STARTTLS and direct TLS`, async (t) => {
    const { server, node } = await stage(t, { scram });
    const direct = { port: server.directTlsPort, tls: 'direct' as const };
    await talk(await node('alice'), await node('bob', direct));
  }, 40_000);
}

test('each of those who are added while online sees all the others', async (t) => {
  const names = ['alice', 'bob', 'carol', 'dave'];
  const users = Object.fromEntries(names.map((name) => [name, `${name}-password`]));
  const { server, node } = await stage(t, { users, groups: { lab: [] } });
  const nodes = await Promise.all(names.map((name) => node(name)));
  for (const each of nodes) await each.expect('signal.stateChanged', (e) => e.state === 'online');
  for (const name of names) await server.addMember('lab', name);
  for (const each of nodes) {
    for (const other of nodes) {
      if (each !== other) await each.expect('signal.peerSeen', (e) => e.peer === other.id);
    }
  }
}, 40_000);

for (const tls of ['starttls', 'direct'] as const) {
  test(`a client certificate logs in by EXTERNAL and its owner talks, ${tls}`, async (t) => {
    const { ca, server, node } = await stage(t);
    const port = tls === 'direct' ? server.directTlsPort : server.port;
    const clientCertificate = await clientOf(ca, 'alice');
    const by = { port, tls, password: null, clientCertificate };
    await talk(await node('alice', by), await node('bob'));
    assert.match(server.log(), /Accepted c2s EXTERNAL authentication for alice@lab\.test/);
  }, 40_000);

  test(`the certificate of another account is refused by EXTERNAL, ${tls}`, async (t) => {
    const { ca, server, node } = await stage(t);
    const port = tls === 'direct' ? server.directTlsPort : server.port;
    const clientCertificate = await clientOf(ca, 'bob');
    const alice = await node('alice', { port, tls, password: null, clientCertificate });
    const refused = await alice.expect('signal.stateChanged', (e) => e.problem !== null, 10_000);
    assert.equal(refused.problem?.code, 'signal.auth-failed');
    assert.equal(refused.state, 'refused');
  }, 40_000);
}

test('a member is added and removed while all are online', async (t) => {
  const { server, node } = await stage(t, { groups: { lab: ['alice'] } });
  const [alice, bob] = await Promise.all([node('alice', { rosterGroup: 'lab' }), node('bob')]);
  for (const each of [alice, bob]) {
    await each.expect('signal.stateChanged', (e) => e.state === 'online');
  }
  assert.equal(alice.events('signal.peerSeen').length, 0);
  await server.addMember('lab', 'bob');
  await talk(alice, bob);

  const started = performance.now();
  await server.removeMember('lab', 'bob');
  const removed = await alice.expect('signal.peerLost', (e) => e.peer === bob.id);
  assert.equal(removed.reason, 'removed');
  await assertWithin('the removal', performance.now() - started, 5_000);
  await bob.expect('signal.peerLost', (e) => e.peer === alice.id && e.reason === 'removed');
}, 40_000);

// Not SIGKILL: it would lose the accounts and groups that the test has just made (mnesia).
test('after a restart of the server both are back', async (t) => {
  const { server, node } = await stage(t);
  const [alice, bob] = await Promise.all([node('alice'), node('bob')]);
  await talk(alice, bob);
  await server.restart();
  await alice.expect('signal.peerLost', (e) => e.reason === 'signal-lost');
  await alice.expect('signal.peerSeen', (e) => e.peer === bob.id, 30_000, 1);
  await bob.expect('signal.peerSeen', (e) => e.peer === alice.id, 30_000, 1);
}, 60_000);
