/**
 * What the local API answers about members: who is linked, reached through others, idle or gone;
 * and that 300 of them stay within the frame of the bridge protocol and the limit of an answer.
 */
import assert from 'node:assert/strict';
import { NodeId, OverlayId } from '../../../base/ids.ts';
import type { Config } from '../../../config/config.ts';
import type { BusEvent, Events } from '../../../controller/events.ts';
import { Status } from '../../../controller/local-api/schema.ts';
import { StatusBoard } from '../../../controller/status.ts';
import { encodeFrame } from '../../../tincan-bridge/protocol/frames.ts';
import {
  maxFrameBytes,
  methods,
  type Result,
  type SessionStatus,
} from '../../../tincan-bridge/protocol/schema.ts';
import { suite } from '../../support/harness.ts';
import { VirtualTime } from '../../support/virtual-time.ts';

const test = suite('status');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const overlay = OverlayId.parse('farm');

const session = (peer: NodeId, history: SessionStatus['history'] = []): SessionStatus => ({
  peer,
  state: 'online',
  path: { kind: 'direct-reflexive', local: '192.168.100.100:40000', remote: '203.0.113.100:40000' },
  rttMs: 123.456_789,
  sentBytes: 123_456_789_012,
  receivedBytes: 123_456_789_012,
  sentFrames: 1_234_567_890,
  receivedFrames: 1_234_567_890,
  sentBitsPerSecond: 1_234_567_890,
  receivedBitsPerSecond: 1_234_567_890,
  upSinceMs: 1_780_000_000_000,
  lastError: 'e'.repeat(300),
  cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  pathNote: 'n'.repeat(300),
  mtu: 1_420,
  history,
});

const result = (sessions: readonly SessionStatus[]): Result<'status'> => ({
  mtu: 1_420,
  sessions: [...sessions],
  counters: {},
  stations: [],
});

interface Bench {
  readonly see: (peer: NodeId) => void;
  readonly lose: (peer: NodeId, reason: Events['signal.peerLost']['reason']) => void;
  readonly status: (
    sessions: readonly SessionStatus[],
    linked?: readonly NodeId[],
  ) => Promise<Status>;
}

function bench(): Bench {
  let bridge = result([]);
  let linked: readonly NodeId[] = [];
  const config: Config = {
    file: '/c.json',
    nodeId: null,
    nodeName: 'me',
    logLevel: 'info',
    stateDirectory: '/s',
    runDirectory: '/r',
    overlays: [
      {
        overlay,
        signal: {
          host: 'h',
          port: 5_222,
          tls: 'starttls',
          account: 'me@h',
          login: { method: 'x509', certificate: '', key: { reveal: () => '' } as never },
          ca: null,
          rosterGroup: null,
        },
        trust: { policy: 'roster' },
        links: { stun: [], turn: [], ignoredNetInterfaces: [] },
        topology: {
          minSuccessors: null,
          maxLongDistance: null,
          incomingCap: null,
          staticEdges: [],
          manual: false,
          role: 'switch',
          maxConcurrent: null,
          maxOnDemand: null,
          demandBytesPerSecond: null,
          demandMinAgeMs: null,
        },
        cni: null,
        device: {
          provider: { kind: 'vnic' },
          spanningTree: false,
          app: null,
          addresses: [],
          mtu: null,
          autoDelete: true,
        },
      },
    ],
  };
  const board = new StatusBoard({
    config,
    nodeId: id(1),
    version: '1',
    clock: new VirtualTime().clock(),
    links: { status: async () => bridge, snapshot: () => null },
    bridges: { snapshot: () => null },
    trust: {
      snapshot: () => ({
        policy: 'roster',
        problem: null,
        certificateNotAfter: null,
        crlNumber: null,
        revoked: 0,
      }),
    },
    signal: { snapshot: () => [] },
    topology: {
      snapshot: () =>
        linked.map((peer) => ({
          peer,
          reason: 'successor',
          incoming: null,
          state: 'setting-up',
          sinceMs: 0,
        })),
    },
  });
  const tell = (event: BusEvent): void => board.see(event);
  return {
    see: (peer) =>
      tell({
        name: 'signal.peerSeen',
        event: {
          overlay,
          peer,
          name: `node-${peer.slice(-3)}`,
          account: 'a@h',
          leaf: false,
          addresses: [],
        },
      }),
    lose: (peer, reason) => tell({ name: 'signal.peerLost', event: { overlay, peer, reason } }),
    async status(sessions, withLinks = []) {
      bridge = result(sessions);
      linked = withLinks;
      return Status.parse(await board.collect());
    },
  };
}

const statesOf = ({ overlays }: Status): readonly string[] =>
  overlays.flatMap(({ peers }) =>
    peers.map(
      ({ nodeId, state, reachable }) => `${Number.parseInt(nodeId, 16)} ${state} ${reachable}`,
    ),
  );

test('members without a session are idle, or waited for when a link is wanted', async () => {
  const board = bench();
  for (const n of [2, 3, 4]) board.see(id(n));
  assert.deepEqual(statesOf(await board.status([session(id(2))], [id(3)])), [
    '2 online true',
    '3 waiting true',
    '4 idle true',
  ]);
});

test('who left is shown while a session stands, who was removed never', async () => {
  const board = bench();
  for (const n of [2, 3, 4]) board.see(id(n));
  board.lose(id(2), 'left');
  board.lose(id(3), 'left');
  board.lose(id(4), 'removed');
  assert.deepEqual(statesOf(await board.status([session(id(2))])), ['2 online false']);
  assert.deepEqual(statesOf(await board.status([])), []);
});

test('our own outage hides nobody', async () => {
  const board = bench();
  board.see(id(2));
  board.lose(id(2), 'signal-lost');
  assert.deepEqual(statesOf(await board.status([])), ['2 idle false']);
});

test('a status of 300 sessions fits a frame of the bridge protocol and an answer', async () => {
  const nodes = Array.from({ length: 300 }, (_, n) => id(n + 2));
  const entry = { agoMs: 1_234_567, what: 'w'.repeat(200) };
  // The tunnel process shares 2000 entries among its sessions.
  const history = Array.from({ length: Math.floor(2_000 / nodes.length) }, () => entry);
  const status = result(nodes.map((peer) => session(peer, history)));
  methods.status.result.parse(status);
  const { length } = encodeFrame({ id: 1, result: status });
  const board = bench();
  for (const node of nodes) board.see(node);
  const answer = JSON.stringify(await board.status(status.sessions)).length;
  process.stdout.write(`300 sessions: frame ${length} bytes, answer ${answer} bytes\n`);
  assert.ok(length < maxFrameBytes);
  assert.ok(answer < 2 * maxFrameBytes);
}, 10_000);
