/**
 * A status as a controller with some trouble gives it, for tests of what shows or carries it.
 */
import { EvioError } from '../../base/errors.ts';
import type { Deps } from '../../controller/local-api/index.ts';
import { LinksReply, PingReply, RoutesReply, Status } from '../../controller/local-api/schema.ts';

const online = {
  nodeId: '0123456789abcdef0123456789abcdef',
  name: 'barn-gw',
  account: 'barn-gw@farm.example',
  reachable: true,
  state: 'online',
  path: { kind: 'direct-reflexive', local: '10.0.0.2:4500', remote: '192.0.2.7:4500' },
  pathNote: null,
  mtu: 1_420,
  cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  rttMs: 12.34,
  sentBytes: 1_234_567,
  receivedBytes: 999,
  sentBitsPerSecond: 4_200_000,
  receivedBitsPerSecond: 0,
  upSinceMs: 3_661_000,
  lastError: null,
  history: [
    { agoMs: 3_662_000, what: 'connecting: wanted' },
    { agoMs: 3_661_000, what: 'online: direct-reflexive' },
  ],
};

const retrying = {
  ...online,
  nodeId: 'fedcba9876543210fedcba9876543210',
  name: 'attic\u001b[31m',
  reachable: false,
  state: 'retrying',
  path: { kind: 'none', local: '', remote: '' },
  cipher: null,
  mtu: null,
  rttMs: null,
  sentBytes: 0,
  receivedBytes: 0,
  sentBitsPerSecond: 0,
  upSinceMs: null,
  lastError: 'no candidate pair answered within 15000 ms',
  history: [],
};

export const sampleStatus: Status = Status.parse({
  nodeId: '00112233445566778899aabbccddeeff',
  name: 'field-3',
  version: '0.1.0',
  startedAt: '2026-01-01T00:00:00.000Z',
  overlays: [
    {
      overlay: 'farm',
      trust: {
        policy: 'roster',
        problem: null,
        certificateNotAfter: null,
        crlNumber: null,
        revoked: 0,
      },
      signal: {
        state: 'refused',
        sinceMs: 61_000,
        server: 'xmpp.farm.example:5222',
        account: 'field-3@farm.example',
        problem: { code: 'signal.auth-failed', message: 'not-authorized' },
        retryInMs: 120_000,
        refused: [
          {
            account: 'eve@farm.example',
            name: 'barn-gw',
            problem: { code: 'peer.untrusted', message: 'its key is not the pinned one' },
            change: {
              from: '0123456789abcdef0123456789abcdef',
              to: '00000000000000000000000000000bad',
            },
          },
        ],
      },
      device: {
        tap: 'ev-farm',
        provider: 'lxbr',
        bridge: 'evbr-farm',
        appBridge: null,
        mac: '02:00:5e:10:00:01',
        mtu: 1420,
        addresses: ['10.77.0.12/16'],
      },
      deviceProblem: null,
      bridgeProcess: { state: 'up', pid: 4242, restarts: 0, problem: null },
      iceServers: {
        stun: ['stun.farm.example:3478'],
        turn: [],
        note: 'no TURN server: peers behind symmetric NATs may stay unreachable',
      },
      peers: [online, retrying],
      counters: { upcalls: 7 },
    },
  ],
});

/** Nothing is pinned, and nothing can be. */
export const noTrust: Deps['trust'] = {
  list: () => ({ overlays: [] }),
  accept: () => Promise.reject(new EvioError('request.invalid', 'no key is pinned')),
  forget: () => Promise.reject(new EvioError('request.invalid', 'no key is pinned')),
};

const far = { nodeId: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', name: 'silo' };
const { nodeId: barn, name: barnName, path } = online;

/** One link of each kind of trouble, a way through one neighbour, and a peer that answers. */
export const sampleRing: Deps['ring'] & {
  readonly samples: {
    readonly links: LinksReply;
    readonly routes: RoutesReply;
    readonly ping: PingReply;
  };
} = (() => {
  const ringPath = { kind: 'ring', local: '', remote: barn };
  const samples = {
    links: LinksReply.parse({
      overlays: [
        {
          overlay: 'farm',
          links: [
            {
              ...far,
              reason: 'long-distance',
              incoming: null,
              state: 'asking',
              sinceMs: 900,
              path: ringPath,
            },
            {
              nodeId: barn,
              name: barnName,
              reason: 'successor',
              incoming: 'successor',
              state: 'up',
              sinceMs: 61_000,
              path,
            },
            {
              nodeId: retrying.nodeId,
              name: '',
              reason: null,
              incoming: 'on-demand',
              state: 'down',
              sinceMs: 5_000,
              path: retrying.path,
            },
          ],
        },
      ],
    }),
    routes: RoutesReply.parse({
      overlays: [
        {
          overlay: 'farm',
          routes: [
            { ...far, via: barn, viaName: barnName, how: 'look-ahead' },
            { nodeId: barn, name: barnName, via: barn, viaName: barnName, how: 'link' },
            { nodeId: retrying.nodeId, name: '', via: null, viaName: '', how: 'none' },
          ],
        },
      ],
    }),
    ping: PingReply.parse({
      rttMs: 21.5,
      path: ringPath,
      hops: [{ nodeId: barn, name: barnName }, far],
    }),
  };
  return {
    samples,
    links: () => samples.links,
    routes: async () => samples.routes,
    ping: async ({ peer }) =>
      peer === retrying.nodeId
        ? { rttMs: null, path: { kind: 'none', local: '', remote: '' }, hops: [] }
        : samples.ping,
  };
})();

/** A controller that no pod is attached to. */
export const noPods: Deps['cni'] = {
  pods: () => ({ overlays: [] }),
  answer: async () => ({ ok: true, text: '' }),
};
