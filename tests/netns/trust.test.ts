/**
 * Trust on real nodes: who has no certificate of the overlay's CA gets nothing, revocation ends
 * links, a hostile XMPP server gets no frame in or out, a changed key waits for the operator.
 */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, type T } from '../support/harness.ts';
import { hostileServer, injectedJid } from '../support/hostile-server.ts';
import { load, temporaryFolder } from '../support/identities.ts';
import { EvioNode, type NodeOptions } from '../support/node.ts';
import { makeOverlayCa, type OverlayCaFolder } from '../support/overlay-ca.ts';
import { waitFor } from '../support/scope.ts';
import { ping } from '../support/traffic.ts';
import { createScene, type Scene } from '../support/two-nodes.ts';

const test = suite('trust');
const newCa = (t: T): Promise<OverlayCaFolder> =>
  makeOverlayCa(join(temporaryFolder(t), 'ca'), Date.now());

/** Has the node's identity made and signed; the options to start it with under policy `ca`. */
async function enrol(
  t: T,
  scene: Scene,
  ca: OverlayCaFolder,
  index: number,
  validity: { readonly nowMs?: number; readonly days?: number } = {},
): Promise<{
  readonly node: string;
  readonly changes: Partial<NodeOptions>;
  readonly crl: string;
}> {
  const { name } = scene.options(index);
  const identity = await load(EvioNode.stateDirectory(scene.lab, name));
  const folder = temporaryFolder(t);
  const [CertFile, crl] = [join(folder, 'node.pem'), join(folder, 'crl.pem')];
  await ca.sign(identity, name, { out: CertFile, ...validity });
  copyFileSync(ca.crlFile, crl);
  const lab = { Policy: 'ca', CaFile: ca.certificateFile, CertFile, CrlFile: crl };
  return { node: identity.node, crl, changes: { config: { Trust: { Overlays: { lab } } } } };
}

/** Brings a list as an operator does: whole, at once. */
function bring(from: string, to: string): void {
  writeFileSync(`${to}.new`, readFileSync(from));
  renameSync(`${to}.new`, to);
}

const pingOf = async (from: EvioNode, to: EvioNode, scene: Scene): Promise<number> =>
  (await ping(scene.lab, from.ns, to.address, { count: 2, waitS: 1 })).received;

const isRefused = (node: EvioNode, account: string, why: RegExp, timeoutMs = 20_000) =>
  waitFor(
    `${node.name} refuses ${account}`,
    async () => {
      const text = await node.evio('status').catch(() => '');
      return text.includes(`(${account}@lab.test)`) && why.test(text);
    },
    { timeoutMs, stepMs: 200, context: () => node.log().slice(-3_000) },
  );

test('under policy ca certified members connect; one without and one of another CA get nothing', async (t) => {
  const scene = await createScene(t, { kinds: ['open', 'open', 'open', 'open'] });
  const [ca, otherCa] = [await newCa(t), await newCa(t)];
  const a = scene.start(0, (await enrol(t, scene, ca, 0)).changes);
  const b = scene.start(1, (await enrol(t, scene, ca, 1)).changes);
  const c = scene.start(2); // policy roster: it would take anybody
  const d = scene.start(3, (await enrol(t, scene, otherCa, 3)).changes);
  await a.waitUp('b');
  assert.equal(await pingOf(a, b, scene), 2);
  for (const node of [a, b]) {
    await isRefused(node, 'c', /not signed by the CA of overlay lab/);
    await isRefused(node, 'd', /not signed by the CA of overlay lab/);
  }
  await isRefused(d, 'a', /not signed by the CA of overlay lab/);
  for (const stranger of [c, d]) {
    assert.equal(await pingOf(stranger, a, scene), 0);
    const path = (await stranger.peer('a'))?.path?.kind ?? 'none';
    assert.equal(path, 'none');
  }
  const { overlays } = await a.status();
  assert.deepEqual(
    overlays.flatMap(({ peers }) => peers.map(({ name }) => name)),
    ['b'],
  );
}, 90_000);

test('a revoked node loses its links within 60 s and does not come back', async (t) => {
  const scene = await createScene(t, { kinds: ['open', 'open'] });
  const ca = await newCa(t);
  const [ofA, ofB] = [await enrol(t, scene, ca, 0), await enrol(t, scene, ca, 1)];
  const a = scene.start(0, ofA.changes);
  const b = scene.start(1, ofB.changes);
  await a.waitUp('b');
  await b.waitUp('a');
  const startedMs = performance.now();
  await ca.revoke(ofB.node);
  bring(ca.crlFile, ofA.crl); // not to b, who would rather not know
  await waitFor('the link ends', async () => (await a.peer('b')) === undefined, {
    timeoutMs: 60_000,
    context: () => a.log(),
  });
  process.stdout.write(`revoked to link down: ${(performance.now() - startedMs).toFixed(0)} ms\n`);
  assert.equal(await pingOf(b, a, scene), 0);
  await b.stop();
  b.start();
  await isRefused(a, 'b', /is revoked/);
  assert.equal(await pingOf(b, a, scene), 0);
  assert.equal(await a.peer('b'), undefined);
  // An older list does not bring it back.
  const old = (await enrol(t, scene, await newCa(t), 0)).crl;
  bring(old, ofA.crl);
  await waitFor('the foreign list is refused', async () =>
    (await a.evio('status')).includes('trust.unusable'),
  );
  assert.equal(await a.peer('b'), undefined);
}, 120_000);

test('links end within 60 s after a certificate has expired', async (t) => {
  const scene = await createScene(t, { kinds: ['open', 'open'] });
  const dayMs = 86_400_000;
  const ca = await makeOverlayCa(join(temporaryFolder(t), 'ca'), Date.now() - 3 * dayMs);
  const expiresAtMs = Date.now() + 15_000;
  const a = scene.start(0, (await enrol(t, scene, ca, 0)).changes);
  const ofB = await enrol(t, scene, ca, 1, { nowMs: expiresAtMs - dayMs, days: 1 });
  const b = scene.start(1, ofB.changes);
  await a.waitUp('b', 14_000);
  await waitFor('the link ends', async () => (await a.peer('b')) === undefined, {
    timeoutMs: 75_000,
    context: () => a.log(),
  });
  const lateMs = Date.now() - expiresAtMs;
  process.stdout.write(`expired to link down: ${lateMs} ms\n`);
  assert.ok(lateMs < 60_000);
  await isRefused(a, 'b', /expired at/);
  assert.equal(await pingOf(b, a, scene), 0);
  assert.match(await b.evio('status'), /this node is refused by its peers: .*expired/);
}, 120_000);

test('under policy ca a hostile server puts no node in and no frame through', async (t) => {
  const hostile = await hostileServer(t);
  const scene = await createScene(t, {
    kinds: ['open', 'open'],
    serverModules: hostile.modules,
    moreMembers: ['inject'],
  });
  const ca = await newCa(t);
  const [ofA, ofB] = [await enrol(t, scene, ca, 0), await enrol(t, scene, ca, 1)];
  hostile.attack({ [`b@lab.test/evio-lab-${ofB.node}`]: 'b', [injectedJid]: 'inject' });
  const a = scene.start(0, ofA.changes);
  const b = scene.start(1, ofB.changes);
  await isRefused(a, 'b', /not signed by the CA/);
  await isRefused(a, 'inject', /not signed by the CA/);
  assert.match(scene.prosody.log(), /HOSTILE swapped/);
  assert.equal(await pingOf(a, b, scene), 0);
  assert.equal(await pingOf(b, a, scene), 0);
  const { overlays } = await a.status();
  assert.deepEqual(overlays[0]?.peers, []);
  // Only candidates are rewritten now: each message breaks its signature and is dropped.
  hostile.attack({});
  await b.stop();
  b.start();
  await waitFor('a message was rewritten', () => /HOSTILE rewrote/.test(scene.prosody.log()), {
    timeoutMs: 20_000,
  });
  assert.equal(await pingOf(a, b, scene), 0);
  await waitFor('it is dropped', () => /bad-signature/.test(a.log() + b.log()));
  hostile.relent();
  await a.waitUp('b', 60_000);
  assert.equal(await pingOf(a, b, scene), 2);
}, 150_000);

test('under policy roster a hostile server does not replace a pinned node', async (t) => {
  const hostile = await hostileServer(t);
  const scene = await createScene(t, { kinds: ['open', 'open'], serverModules: hostile.modules });
  const [a, b] = [scene.start(0), scene.start(1)];
  await a.waitUp('b');
  const pinned = (await b.status()).nodeId;
  await b.stop();
  hostile.attack({ [`b@lab.test/evio-lab-${pinned}`]: 'b' });
  b.start();
  await isRefused(a, 'b', new RegExp(`has key ${hostile.attacker.node}, pinned is ${pinned}`));
  assert.equal(await pingOf(a, b, scene), 0);
  const peers = (await a.status()).overlays.flatMap((overlay) => overlay.peers);
  assert.ok(peers.every(({ nodeId }) => nodeId !== hostile.attacker.node));
  hostile.relent();
  await b.stop();
  b.start();
  await a.waitUp('b', 60_000);
}, 120_000);

test('a changed key waits until the operator names both, then counts at once', async (t) => {
  const scene = await createScene(t, { kinds: ['open', 'open'] });
  const [a, b] = [scene.start(0), scene.start(1)];
  await a.waitUp('b');
  const from = (await b.status()).nodeId;
  await b.stop();
  rmSync(EvioNode.stateDirectory(scene.lab, 'b'), { recursive: true });
  b.start();
  await isRefused(a, 'b', /has key [0-9a-f]{32}, pinned is [0-9a-f]{32}/);
  const to = (await b.status()).nodeId;
  const status = await a.evio('status');
  const place = ['--account', 'b@lab.test', '--name', 'b'];
  const accept = ['trust', 'accept', '--overlay', 'lab', ...place, '--from', from, '--to', to];
  assert.ok(status.includes(`evio ${accept.join(' ')}`), status);
  assert.match(await a.evio('trust', 'list'), new RegExp(`b@lab\\.test\\s+b\\s+${from}`));
  await assert.rejects(a.evio(...accept.with(-1, from).with(-3, to)), /is pinned to/);
  await assert.rejects(a.evio('trust', 'forget', ...place, '--key', from), /trust accept/);
  await a.evio(...accept);
  await a.waitUp('b', 15_000);
  assert.equal(await pingOf(a, b, scene), 2);
  const after = await a.evio('status');
  assert.doesNotMatch(after, /refused +b/);
  assert.match(await a.evio('trust', 'list'), new RegExp(`b@lab\\.test\\s+b\\s+${to}`));
}, 120_000);
