/** What a node says when the host or its account does not let it work. */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import { evioLauncher } from '../support/repository.ts';
import { waitFor } from '../support/scope.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('refusals');

/** Runs `evio up` to its end; exit status and what it said. */
async function upFails(
  scene: Awaited<ReturnType<typeof createScene>>,
  wrap: readonly string[],
): Promise<{ readonly code: number | null; readonly log: string }> {
  const node = scene.start(0);
  await node.stop(); // only its files are needed
  const child = scene.lab.spawn(node.ns, [
    ...wrap,
    evioLauncher,
    'up',
    '--config',
    node.configFile,
  ]);
  const exit = await waitFor('evio up ends', () => child.exit, { timeoutMs: 15_000 });
  return { code: exit.code, log: child.log() };
}

test('without CAP_NET_ADMIN it names the capability and changes nothing', async (t) => {
  const scene = await createScene(t, { kinds: ['open'] });
  const { code, log } = await upFails(scene, [
    'setpriv',
    '--bounding-set=-net_admin',
    '--inh-caps=-net_admin',
  ]);
  assert.equal(code, 1, log);
  assert.match(log, /CAP_NET_ADMIN/);
  assert.doesNotMatch(await scene.lab.exec('hA', ['ip', '-brief', 'link']), /ev-lab/);
}, 60_000);

test('without /dev/net/tun it says so and how to get it', async (t) => {
  const scene = await createScene(t, { kinds: ['open'] });
  // A mount namespace with an empty /dev/net.
  const { code, log } = await upFails(scene, [
    'unshare',
    '--mount',
    'sh',
    '-c',
    'mount -t tmpfs none /dev/net && exec "$@"',
    'sh',
  ]);
  assert.equal(code, 1, log);
  assert.match(log, /\/dev\/net\/tun/);
  assert.match(log, /modprobe tun/);
}, 60_000);

test('a wrong password is shown in the status, with the remedy, and is not hammered', async (t) => {
  const scene = await createScene(t, { kinds: ['open'] });
  const options = scene.options(0);
  const node = scene.start(0, { xmpp: { ...options.xmpp, password: 'wrong' } });
  await waitFor(
    'the refusal',
    async () => {
      const status = await node.status().catch(() => null);
      return status?.overlays[0]?.signal?.state === 'refused';
    },
    { timeoutMs: 15_000, context: () => node.log() },
  );
  const text = await node.evio('status');
  assert.match(text, /refused/);
  assert.match(text, /signal\.auth-failed/);
  assert.match(text, /password/i);
  assert.doesNotMatch(text + node.log(), /wrong(?!ly)/, 'the password itself is nowhere');
}, 60_000);

test('a second controller on the same run directory is refused', async (t) => {
  const scene = await createScene(t, { kinds: ['open'] });
  const node = scene.start(0);
  await waitFor(
    'it answers',
    () =>
      node.status().then(
        () => true,
        () => false,
      ),
    { timeoutMs: 15_000, context: () => node.log() },
  );
  const second = scene.lab.spawn(node.ns, [evioLauncher, 'up', '--config', node.configFile]);
  const exit = await waitFor('the second ends', () => second.exit, { timeoutMs: 15_000 });
  assert.equal(exit.code, 1);
  assert.match(second.log(), /already-running/);
  assert.equal((await node.status()).overlays.length, 1);
}, 60_000);
