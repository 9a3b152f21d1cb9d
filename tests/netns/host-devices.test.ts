/** The bridge-controller on a real kernel, in a namespace: devices made, kept, refused, removed. */
import assert from 'node:assert/strict';
import { systemClock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import { type Exec, exec } from '../../base/exec.ts';
import { NodeId, OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import {
  type BridgeController,
  createBridgeController,
  type DeviceConfig,
} from '../../controller/bridge-controller/index.ts';
import { Bus } from '../../controller/bus.ts';
import { suite, type T } from '../support/harness.ts';

const test = suite('host devices');
const overlay = OverlayId.parse('dev');
const self = NodeId.parse('0123456789abcdef0123456789abcdef');
let counter = 0;

/** A namespace of the test's own, and commands run inside it. */
async function namespace(t: T): Promise<Exec> {
  counter += 1;
  const name = `evt-hd${process.pid}-${counter}`;
  await exec(['ip', 'netns', 'add', name]);
  t.defer(async () => void (await exec(['ip', 'netns', 'delete', name])));
  return (argv, options) => exec(['ip', 'netns', 'exec', name, ...argv], options);
}

function controller(run: Exec, config: Partial<DeviceConfig>): { it: BridgeController; bus: Bus } {
  const bus = new Bus(silentLogger);
  const it = createBridgeController({
    port: bus.port('bridges'),
    exec: run,
    clock: systemClock,
    log: silentLogger,
    self,
    devices: [
      {
        overlay,
        provider: { kind: 'lxbr' },
        spanningTree: false,
        app: null,
        addresses: ['10.71.0.1/24', 'fd71::1/64'],
        mtu: null,
        autoDelete: true,
        ...config,
      },
    ],
  });
  return { it, bus };
}

const names = async (run: Exec): Promise<string[]> =>
  (await run(['ip', '-brief', 'link'])).split('\n').map((l) => l.split(/[@\s]/)[0] ?? '');

test('bridge and TAP stand with their addresses, and stop leaves nothing', async (t) => {
  const run = await namespace(t);
  const { it } = controller(run, {});
  await it.start();
  assert.match(
    await run(['ip', 'address', 'show', 'evbr-dev']),
    /10\.71\.0\.1\/24[\s\S]*fd71::1\/64/,
  );
  assert.match(
    await run(['ip', '-details', 'link', 'show', 'ev-dev']),
    /master evbr-dev[\s\S]*vnet_hdr/,
  );
  assert.match(await run(['ip', 'link', 'show', 'ev-dev']), /mtu 9000/);
  assert.match(await run(['ip', 'link', 'show', 'evbr-dev']), /mtu 1420/);
  await it.stop();
  assert.deepEqual(
    (await names(run)).filter((n) => n.includes('dev')),
    [],
  );
});

test('a second start finds the devices of the first and changes nothing', async (t) => {
  const run = await namespace(t);
  const { it } = controller(run, { autoDelete: false, provider: { kind: 'vnic' } });
  await it.start();
  await it.stop();
  const before = await run(['ip', 'address', 'show', 'ev-dev']);
  const calls: string[] = [];
  const again = controller(
    (argv, o) => {
      calls.push([...argv, o?.input ?? ''].join(' '));
      return run(argv, o);
    },
    { provider: { kind: 'vnic' } },
  );
  await again.it.start();
  assert.equal(await run(['ip', 'address', 'show', 'ev-dev']), before);
  assert.equal(calls.filter((c) => c.includes('-batch')).length, 0);
  await again.it.stop();
});

test('the MTU follows the paths', async (t) => {
  const run = await namespace(t);
  const { it, bus } = controller(run, {});
  await it.start();
  bus.port('links').publish('links.mtuChanged', { overlay, mtu: 1380 });
  await it.stop(); // waits for the change; the devices are gone then, so look at what was told
  const second = controller(run, { autoDelete: false });
  await second.it.start();
  second.bus.port('links').publish('links.mtuChanged', { overlay, mtu: 1380 });
  await second.it.stop();
  assert.match(await run(['ip', 'link', 'show', 'evbr-dev']), /mtu 1380/);
  assert.match(await run(['ip', 'link', 'show', 'ev-dev']), /mtu 9000/);
});

test('a spanning tree is on where it is wanted, and off again', async (t) => {
  const run = await namespace(t);
  const shown = async (): Promise<string> =>
    await run(['ip', '-details', 'link', 'show', 'evbr-dev']);
  const first = controller(run, { spanningTree: true, autoDelete: false }).it;
  await first.start();
  assert.match(await shown(), /stp_state 1/);
  await first.stop();
  const second = controller(run, {}).it;
  await second.start();
  assert.match(await shown(), /forward_delay 0 .*stp_state 0/);
  await second.stop();
});

test('a bridge for applications may stay while the rest goes', async (t) => {
  const run = await namespace(t);
  const { it } = controller(run, { app: { mtu: 1400, autoDelete: false } });
  await it.start();
  assert.match(await run(['ip', 'address', 'show', 'evap-dev']), /mtu 1400[\s\S]*10\.71\.0\.1\/24/);
  await it.stop();
  assert.deepEqual(
    (await names(run)).filter((n) => n.includes('dev')),
    ['evap-dev'],
  );
  const again = controller(run, { app: { mtu: 1400, autoDelete: true } }).it;
  await again.start();
  assert.match(await run(['ip', 'link', 'show', 'evpo-dev']), /master evap-dev/);
  await again.stop();
  assert.deepEqual(
    (await names(run)).filter((n) => n.includes('dev')),
    [],
  );
});

test('a foreign device of the same name is refused and left alone', async (t) => {
  const run = await namespace(t);
  await run(['ip', 'link', 'add', 'ev-dev', 'type', 'bridge']);
  const { it } = controller(run, {});
  await it.start();
  const snapshot = it.snapshot(overlay);
  assert.ok(snapshot !== null && 'problem' in snapshot);
  assert.equal(snapshot.problem.code, 'host.device-foreign');
  await it.stop();
  assert.ok((await names(run)).includes('ev-dev'));
});

test('a command of the host that fails is named with its message', async (t) => {
  const run = await namespace(t);
  await assert.rejects(
    run(['ip', 'link', 'set', 'dev', 'nosuch', 'up']),
    (error: unknown) => error instanceof EvioError && /nosuch/.test(error.message),
  );
});
