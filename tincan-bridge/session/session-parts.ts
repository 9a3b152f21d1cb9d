/**
 * The parts of one peer session, and how they are joined: what each is told and whom it asks. Owns their
 * construction only; `peer-session.ts` ends them.
 */
import type { NodeId } from '../../base/ids.ts';
import type { SessionNumber } from '../datapath/datapath.ts';
import type { SessionDescription } from '../protocol/description.ts';
import { Associations } from './associations.ts';
import { Attempts } from './attempts.ts';
import { ControlSender } from './control-sender.ts';
import type { Input, TimerId } from './core/session-state.ts';
import { History } from './history.ts';
import { KeyExchange } from './key-exchange.ts';
import { MessageBox } from './message-box.ts';
import { OverlayPings } from './overlay-ping.ts';
import { PathInUse } from './path-in-use.ts';
import { PathProbe } from './path-probe.ts';
import { RingSeeker } from './ring-seeker.ts';
import type { SessionDeps, SessionEvents } from './session-contract.ts';
import { TimerSet } from './timer-set.ts';
import { Traffic } from './traffic.ts';

export interface SessionParts {
  readonly keys: KeyExchange;
  readonly attempts: Attempts;
  readonly associations: Associations;
  readonly path: PathInUse;
  readonly probe: PathProbe;
  readonly sender: ControlSender;
  readonly messages: MessageBox;
  readonly overlayPings: OverlayPings;
  readonly seeker: RingSeeker;
  readonly timers: TimerSet<TimerId>;
  readonly traffic: Traffic;
  readonly history: History;
}

/** What the parts ask of the session. */
export interface SessionPorts {
  /** Ends with the session. */
  readonly signal: AbortSignal;
  readonly input: (input: Input) => void;
  readonly elapsed: (id: TimerId) => void;
  /** Something waits for the session. */
  readonly need: () => void;
  /** The association that carries frames; null: the session is not up. */
  readonly current: () => SessionNumber | null;
  /** The association is in use, and its path in doubt. */
  readonly isSuspect: (number: SessionNumber) => boolean;
  /** A description of the peer that came in-band. */
  readonly onDescription: (description: SessionDescription) => void;
}

/** `deps.log` is the session's own. */
export function createParts(
  peer: NodeId,
  deps: SessionDeps,
  events: SessionEvents,
  ports: SessionPorts,
): SessionParts {
  const { clock, datapath, ring, log } = deps;
  const { signal, input, current } = ports;
  const traffic = new Traffic(clock.now());
  const associations = new Associations(peer, datapath, ring);
  const sender = new ControlSender(clock, associations, traffic, ports.isSuspect);
  const send = (payload: Uint8Array): boolean => sender.send(current(), payload);
  const probe: PathProbe = new PathProbe({
    clock,
    send,
    onFits: (bytes, settled) => path.fits(bytes, settled),
  });
  const keys = new KeyExchange({
    ...deps,
    peer,
    input,
    sendControl: (number, payload) => sender.send(number, payload),
    fits: () => probe.fits,
  });
  const attempts = new Attempts({
    ...deps,
    signal,
    keys,
    input,
    onDescription: events.onDescription,
    sendInBand: send,
  });
  const path = new PathInUse({
    datapath,
    associations,
    probe,
    events,
    current,
    drop: (own) => attempts.drop(own),
  });
  const messages = new MessageBox({
    clock,
    signal,
    need: ports.need,
    send,
    onMessage: events.onMessage,
  });
  const overlayPings = createPings(peer, deps, ports, sender, path);
  return {
    keys,
    attempts,
    associations,
    path,
    probe,
    sender,
    messages,
    overlayPings,
    seeker: new RingSeeker({ clock, signal, peer, ring }),
    timers: new TimerSet(clock, ports.elapsed),
    traffic,
    history: new History(clock, log),
  };
}

function createPings(
  peer: NodeId,
  { clock, ring }: SessionDeps,
  { signal, current }: SessionPorts,
  sender: ControlSender,
  path: PathInUse,
): OverlayPings {
  return new OverlayPings({
    clock,
    signal,
    peer,
    path: () => path.path,
    ask: (nonce, traced) => {
      const sent = sender.ping(current(), nonce);
      if (sent && traced) ring.trace(peer, nonce);
      return sent;
    },
  });
}
