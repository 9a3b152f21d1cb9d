/**
 * The ICE adapter over the native datapath and this machine's addresses: attempts connect, and a
 * hundred of them leave no socket, timer or file behind.
 */
import { strict as assert } from 'node:assert';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { systemClock } from '../../base/clock.ts';
import { exec } from '../../base/exec.ts';
import { InterfaceName, NodeId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { createNativeDatapath } from '../../tincan-bridge/datapath/native.ts';
import type { IceDeps, SelectedPath } from '../../tincan-bridge/ice/agent.ts';
import { maxCheckedFrom } from '../../tincan-bridge/ice/check-gate.ts';
import { IceAttempt } from '../../tincan-bridge/ice/ice-attempt.ts';
import { DatagramRouter } from '../../tincan-bridge/ice/router.ts';
import type { IceServers } from '../../tincan-bridge/protocol/schema.ts';
import { noServers, until } from '../support/bridge-pair.ts';
import { suite, type T } from '../support/harness.ts';
import { bindingRequest } from '../support/stun.ts';

const test = suite('ice');
const why = process.getuid?.() === 0 ? null : 'needs root for the TAP';

async function newDeps(t: T): Promise<IceDeps & { readonly router: DatagramRouter }> {
  const tap = `evi${process.pid % 100_000}`;
  await exec(['ip', 'tuntap', 'add', 'dev', tap, 'mode', 'tap', 'vnet_hdr']);
  t.defer(async () => void (await exec(['ip', 'link', 'del', tap])));
  const router = new DatagramRouter();
  const datapath = createNativeDatapath({
    tap: InterfaceName.parse(tap),
    nodeId: NodeId.parse('00'.repeat(16)),
    onUpcalls: (upcalls) => {
      for (const u of upcalls) if (u.kind === 'datagram') router.route(u.socket, u.from, u.bytes);
    },
  });
  t.defer(() => datapath.close());
  return { datapath, router, clock: systemClock, log: silentLogger };
}

interface Side {
  readonly attempt: IceAttempt;
  readonly records: Uint8Array[];
  selected: SelectedPath | null;
  failed: string | null;
  told: readonly string[];
}

function newSide(deps: IceDeps, controlling: boolean, servers: IceServers = noServers): Side {
  const side: Side = {
    records: [],
    selected: null,
    failed: null,
    told: [],
    attempt: new IceAttempt(deps, {
      controlling,
      servers,
      directOnly: false,
      ignoredInterfaces: [],
      loopback: true,
      events: {
        onCandidates: (candidates) => {
          side.told = candidates;
        },
        onSelected: (selected) => {
          side.selected = selected;
        },
        onRecord: (bytes) => void side.records.push(bytes),
        onFailed: (reason) => {
          side.failed = reason;
        },
      },
    }),
  };
  side.attempt.start();
  return side;
}

const pairWith = (a: Side, b: Side): void =>
  a.attempt.pair(b.attempt.ufrag, b.attempt.password, b.attempt.candidates);

test.unless(
  why,
  'a hundred attempts connect, and leave nothing behind',
  async (t) => {
    const deps = await newDeps(t);
    const handles = (): number => deps.router.size + readdirSync('/proc/self/fd').length;
    const run = async (): Promise<void> => {
      const [a, b] = [newSide(deps, true), newSide(deps, false)];
      await until(t, 'host candidates', () => a.told.length > 0 && b.told.length > 0);
      pairWith(a, b);
      pairWith(b, a);
      await until(t, 'connected', () => a.selected !== null && b.selected !== null);
      a.attempt.send(Uint8Array.of(22, 1, 2, 3));
      await until(t, 'a record', () => b.records.length === 1);
      await Promise.all([a.attempt.close(), b.attempt.close()]);
    };
    for (let n = 0; n < 5; n += 1) await run();
    const before = handles();
    for (let n = 0; n < 95; n += 1) await run();
    await until(t, 'as few handles as before', () => handles() <= before);
    // Timers of the last attempts end within werift's own limits; the runner sees to the rest.
  },
  90_000,
);

test.unless(
  why,
  'an attempt that is closed at any moment leaves no socket',
  async (t) => {
    const deps = await newDeps(t);
    for (let n = 0; n < 30; n += 1) {
      const [a, b] = [newSide(deps, true), newSide(deps, false)];
      if (n % 3 !== 0) {
        await until(t, 'host candidates', () => a.told.length > 0 && b.told.length > 0);
        pairWith(a, b);
        if (n % 3 === 2) pairWith(b, a);
      }
      await Promise.all([a.attempt.close(), b.attempt.close()]);
      assert.equal(deps.router.size, 0);
    }
  },
  30_000,
);

test.unless(
  why,
  'records from an address that ICE has not validated are not handed on',
  async (t) => {
    const deps = await newDeps(t);
    const [a, b] = [newSide(deps, true), newSide(deps, false)];
    t.defer(() => a.attempt.close());
    t.defer(() => b.attempt.close());
    await until(t, 'host candidates', () => a.told.length > 0 && b.told.length > 0);
    pairWith(a, b);
    pairWith(b, a);
    await until(t, 'connected', () => a.selected !== null && b.selected !== null);
    const stranger = createSocket('udp4').bind(0, '127.0.0.1');
    t.defer(() => void stranger.close());
    await once(stranger, 'listening');
    const ports = a.told
      .map((c) => c.split(' '))
      .filter((c) => c[4] === '127.0.0.1')
      .map((c) => Number(c[5]));
    assert.ok(ports.length > 0);
    for (const port of ports) stranger.send(Buffer.from([22, 254, 253]), port, '127.0.0.1');
    const seen = deps.datapath.counters().upcalls;
    await until(t, 'the datagram came up', () => deps.datapath.counters().upcalls > seen);
    b.attempt.send(Uint8Array.of(22, 9));
    await until(t, 'the good one', () => a.records.length > 0);
    assert.deepEqual(
      a.records.map((r) => r.length),
      [2],
    );
  },
  15_000,
);

test.unless(
  why,
  'binding requests without our credentials get no answer',
  async (t) => {
    const deps = await newDeps(t);
    const a = newSide(deps, true);
    t.defer(() => a.attempt.close());
    await until(t, 'host candidates', () => a.told.length > 0);
    const stranger = createSocket('udp4').bind(0, '127.0.0.1');
    t.defer(() => void stranger.close());
    await once(stranger, 'listening');
    let answers = 0;
    stranger.on('message', () => {
      answers += 1;
    });
    const request = Buffer.alloc(20);
    request.writeUInt16BE(1, 0);
    request.writeUInt32BE(0x2112_a442, 4);
    const mine = a.told.map((c) => c.split(' ')).find((c) => c[4] === '127.0.0.1');
    const before = deps.datapath.counters().upcalls;
    for (let n = 0; n < 20; n += 1) stranger.send(request, Number(mine?.[5]), '127.0.0.1');
    await until(t, 'they came up', () => deps.datapath.counters().upcalls > before);
    // An echo of our own shows that answers would have had the time to arrive.
    stranger.send(Buffer.from('x'), stranger.address().port, '127.0.0.1');
    await once(stranger, 'message');
    assert.equal(answers, 1);
  },
  15_000,
);

test.unless(
  why,
  'a peer that checks from a hundred addresses becomes no more candidates than the bound',
  async (t) => {
    const deps = await newDeps(t);
    const a = newSide(deps, true);
    t.defer(() => a.attempt.close());
    await until(t, 'host candidates', () => a.told.length > 0);
    const mine = a.told.map((c) => c.split(' ')).find((c) => c[4] === '127.0.0.1');
    let answers = 0;
    for (let n = 0; n < 100; n += 1) {
      const socket = createSocket('udp4').bind(0, '127.0.0.1');
      t.defer(() => void socket.close());
      socket.on('message', () => {
        answers += 1;
      });
      await once(socket, 'listening');
      const request = bindingRequest(a.attempt.ufrag, a.attempt.password);
      socket.send(request, Number(mine?.[5]), '127.0.0.1');
    }
    await until(
      t,
      'all were judged',
      () => answers + deps.router.refusedChecks === 100 && answers === maxCheckedFrom,
    );
  },
  15_000,
);
