/**
 * The datapath of a member that misbehaves on order, with everything else of it real: identity,
 * signalling, ICE, DTLS, sessions. Owns what it does wrong, as the words of a file say: `swallow` what it
 * should send on, `lie` about its neighbours, `flood` frames and control payloads as fast as it goes.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Mac, type NodeId, nodeIdFromBytes } from '../../base/ids.ts';
import type {
  Datapath,
  DatapathOptions,
  SessionNumber,
} from '../../tincan-bridge/datapath/datapath.ts';
import { decodeFlood, encodeFlood } from '../../tincan-bridge/fabric/core/flood-codec.ts';
import {
  encodeRingControl,
  type RingControl,
} from '../../tincan-bridge/fabric/core/ring-control.ts';
import { testFrame } from './bridge-ring.ts';

/** First byte of a list of neighbours. */
const listKind = 16;
/** What one turn of the event loop sends to each neighbour. */
const burst = 64;
const randomId = (): NodeId => nodeIdFromBytes(randomBytes(16));
const randomMac = (): Mac => Mac.parse(`02${randomBytes(5).toString('hex').replace(/../g, ':$&')}`);

/** Words, and the node ids of whom it says that they are its neighbours. */
interface Order {
  readonly words: ReadonlySet<string>;
  readonly claimed: readonly NodeId[];
}

function read(file: string): Order {
  try {
    const words = readFileSync(file, 'utf8').trim().split(/\s+/);
    const isId = (word: string): boolean => /^[0-9a-f]{32}$/.test(word);
    const claimed = words.filter(isId).map((id) => nodeIdFromBytes(Buffer.from(id, 'hex')));
    return { words: new Set(words.filter((word) => word !== '')), claimed };
  } catch {
    return { words: new Set(), claimed: [] };
  }
}

export function hostile(
  honest: Datapath,
  { nodeId: self }: DatapathOptions,
  file: string,
): Datapath {
  let order = read(file);
  const peers = new Map<SessionNumber, NodeId>();
  const control = (session: SessionNumber, said: RingControl): boolean =>
    honest.sendFrame(session, 'control', { bytes: encodeRingControl(said), offload: null });
  const list = (): RingControl => ({
    kind: 'neighbours',
    transit: true,
    neighbours: order.claimed,
  });
  const attack = (): void => {
    for (const [session, peer] of peers) {
      for (let n = 0; n < burst; n += 1) {
        const frame = testFrame('all', randomMac(), n);
        const header = { origin: self, target: peer, bound: self, ttl: 255, hops: 0 };
        const nonce = randomBytes(8).readBigUInt64BE();
        const bytes = encodeFlood({ ...header, nonce }, frame);
        honest.sendFrame(session, 'flood', { bytes, offload: null });
        const number = randomBytes(4).readUInt32BE();
        const [origin, target] = [randomId(), randomId()];
        control(session, { kind: 'search', origin, target, number, ttl: 255, anew: true });
        const said = { source: peer, destination: target, reporter: origin };
        control(session, { kind: 'dead-end', ...said, expired: true, ttl: 255 });
        control(session, { kind: 'neighbours', transit: true, neighbours: [origin, target] });
        honest.sendEnvelope(session, origin, target, 255, randomBytes(200));
      }
    }
  };
  const ordering = setInterval(() => {
    const before = order;
    order = read(file);
    const lies = order.words.has('lie');
    if (lies && !before.words.has('lie'))
      for (const session of peers.keys()) control(session, list());
    writeFileSync(`${file}.heeded`, [...order.words].join(' '));
  }, 200);
  const attacking = setInterval(() => order.words.has('flood') && attack(), 1);
  return {
    ...honest,
    addSession: (options) => {
      honest.addSession(options);
      peers.set(options.session, options.peer);
    },
    removeSession: (session) => {
      peers.delete(session);
      honest.removeSession(session);
    },
    // So that every envelope comes up, where it can be lost.
    setRelay: () => {},
    sendEnvelope: (via, source, ...rest) =>
      source !== self && order.words.has('swallow')
        ? true
        : honest.sendEnvelope(via, source, ...rest),
    sendFrame: (session, type, frame) => {
      const others = type === 'flood' && decodeFlood(frame.bytes)?.header.origin !== self;
      if (others && order.words.has('swallow')) return true;
      const lies = type === 'control' && frame.bytes[0] === listKind && order.words.has('lie');
      return lies ? control(session, list()) : honest.sendFrame(session, type, frame);
    },
    close: () => {
      clearInterval(ordering);
      clearInterval(attacking);
      honest.close();
    },
  };
}
