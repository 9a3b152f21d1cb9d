/**
 * Every event of the controller's bus, its owner and its meaning: newcomers start here. A fact is in
 * the past tense; a wish ends in `Wanted` or `Unwanted`, is level-triggered and safe to repeat.
 * Payloads are readonly plain data; credentials travel as `Secret`, which prints `***`.
 */
import type { ErrorCode } from '../base/errors.ts';
import type { InterfaceName, Mac, NodeId, OverlayId } from '../base/ids.ts';
import type { Secret } from '../base/secret.ts';
import type { LinkMessage, PeerMessage } from './peer-messages.ts';

/** A problem as an operator should see it. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
}

/** How the signalling of one overlay stands. */
export type SignalState = 'connecting' | 'online' | 'offline' | 'refused' | 'stopped';

/** A STUN server, `host` a name or literal address. */
export interface StunServer {
  readonly host: string;
  readonly port: number;
}

/** A TURN server with its credentials. */
export interface TurnServer {
  readonly host: string;
  readonly port: number;
  readonly transport: 'udp' | 'tcp' | 'tls';
  readonly user: string;
  readonly password: Secret;
  /** CA certificates to trust instead of the system's, PEM; for `tls`. */
  readonly ca?: string | null;
}

/** Which way the records of a session go, as people name it. */
export type PathKind = 'direct-host' | 'direct-reflexive' | 'turn' | 'ring' | 'none';

export interface PathSummary {
  readonly kind: PathKind;
  /** `address:port` of both ends, or of the TURN server; empty where it does not apply. */
  readonly local: string;
  readonly remote: string;
}

/** How the host side of an overlay is made. */
export interface DeviceSummary {
  readonly overlay: OverlayId;
  /** What makes the bridge: Linux, Open vSwitch, or nobody (the TAP alone). */
  readonly provider: 'lxbr' | 'ovs' | 'vnic';
  /** The persistent TAP that the tunnel process opens. */
  readonly tap: InterfaceName;
  /** The bridge that it is a port of, or null when the address is on the TAP itself. */
  readonly bridge: InterfaceName | null;
  /** The bridge for applications, patched to it, or null. It then holds the host's addresses. */
  readonly appBridge: InterfaceName | null;
  /** Ethernet address of the device that holds the host's addresses. */
  readonly mac: Mac;
  /** `address/prefix` of the host in the overlay. */
  readonly addresses: readonly string[];
  readonly mtu: number;
  /** The host takes super-frames and undone checksums from the TAP. */
  readonly offload: boolean;
}

export interface Events {
  /** The signalling of an overlay changed its state; `problem` says why it is not online. */
  'signal.stateChanged': {
    readonly overlay: OverlayId;
    readonly state: SignalState;
    readonly problem: Problem | null;
    /** Next try, milliseconds from now; null when online or when none is planned. */
    readonly retryInMs: number | null;
  };
  /** A member is reachable through the server; its announcement was verified and is trusted. */
  'signal.peerSeen': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly name: string;
    /** Bare JID of the account it announced itself from. */
    readonly account: string;
    /** It says that it carries nobody's traffic. */
    readonly leaf: boolean;
    /** Of its host in the overlay, as it says; without prefixes. */
    readonly addresses: readonly string[];
  };
  /**
   * A member is no longer reachable through the server. `left` (it said so, its presence became
   * unavailable, or it did not come back with our own signalling), `removed` (no longer a member, or
   * no longer trusted: its links end), `signal-lost` (we are offline: nothing is known about it).
   */
  'signal.peerLost': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly reason: 'left' | 'removed' | 'signal-lost';
  };
  /** A verified message of a trusted member, addressed to this node. */
  'signal.messageReceived': {
    readonly overlay: OverlayId;
    readonly from: NodeId;
    readonly message: PeerMessage;
  };
  /**
   * A signed message for a member that cannot be reached through the server now: to be carried
   * in-band, over the session with it. `number` is this node's own, for `links.envelopeRefused`.
   */
  'signal.envelopeSealed': {
    readonly overlay: OverlayId;
    readonly to: NodeId;
    readonly number: number;
    readonly envelope: string;
  };
  /** STUN and TURN servers that the XMPP server offers (XEP-0215); replaces the earlier ones. */
  'signal.serversOffered': {
    readonly overlay: OverlayId;
    readonly stun: readonly StunServer[];
    readonly turn: readonly TurnServer[];
  };
  /**
   * A member said which pod ranges are its, in its announcement, and its addresses in the overlay, by
   * which they are reached; null: none (any more).
   */
  'signal.podsAnnounced': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly name: string;
    readonly pods: {
      readonly addresses: readonly string[];
      readonly ranges: readonly string[];
    } | null;
  };
  /** Somebody was not let in: counted and shown to the operator. */
  'signal.peerRefused': {
    readonly overlay: OverlayId;
    readonly account: string;
    readonly name: string;
    readonly problem: Problem;
    /** It shows another key than the pinned one: both node ids. */
    readonly change: { readonly from: NodeId; readonly to: NodeId } | null;
  };

  /** What an overlay's policy rests on has changed: who was judged before is to be judged again. */
  'trust.changed': { readonly overlay: OverlayId };

  /** This node wants a link with `peer`: a session on a path of its own. Level-triggered. */
  'topology.linkWanted': { readonly overlay: OverlayId; readonly peer: NodeId };
  /** This node no longer wants one. */
  'topology.linkUnwanted': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly reason: string;
  };

  /** What topology says to a peer, to be signed and carried by signal. */
  'topology.messageReady': {
    readonly overlay: OverlayId;
    readonly to: NodeId;
    readonly message: LinkMessage;
  };

  /** The tunnel process of the overlay serves its TAP. */
  'links.overlayUp': { readonly overlay: OverlayId; readonly pid: number };
  /** It does not (any more); it is started again after `retryInMs`, or never when null. */
  'links.overlayDown': {
    readonly overlay: OverlayId;
    readonly problem: Problem;
    readonly retryInMs: number | null;
  };
  /**
   * Frames can cross between this node and `peer`: on a path of its own, or through other members
   * (kind `ring`), which the tunnel process arranges by itself and which is no link for topology.
   */
  'links.linkUp': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly path: PathSummary;
    /** From the first wish, or first frame, to the first record, milliseconds. */
    readonly setUpMs: number;
  };
  /** The session goes another way now. */
  'links.pathChanged': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly path: PathSummary;
  };
  /** They cannot (any more). */
  'links.linkDown': {
    readonly overlay: OverlayId;
    readonly peer: NodeId;
    readonly reason: string;
  };
  /** A message for a peer, to be signed and carried by signal. */
  'links.messageReady': {
    readonly overlay: OverlayId;
    readonly to: NodeId;
    readonly message: PeerMessage;
  };
  /** An envelope came in-band, over the session with `from`; nothing of it is checked yet. */
  'links.envelopeReceived': {
    readonly overlay: OverlayId;
    readonly from: NodeId;
    readonly envelope: string;
  };
  /** There is no way to the peer in-band now; `number` is that of `signal.envelopeSealed`. */
  'links.envelopeRefused': {
    readonly overlay: OverlayId;
    readonly to: NodeId;
    readonly number: number;
  };
  /** Payload with each peer, both ways, averaged since the last time; who is missing had none. */
  'links.trafficMeasured': {
    readonly overlay: OverlayId;
    readonly rates: readonly { readonly peer: NodeId; readonly bytesPerSecond: number }[];
  };
  /** Addresses or default routes of this host changed; told once for each overlay. */
  'links.networkChanged': { readonly overlay: OverlayId };
  /** The largest frame payload that every path in use carries has changed, bytes. */
  'links.mtuChanged': { readonly overlay: OverlayId; readonly mtu: number };

  /** This node's pod ranges, to be announced; null: none. */
  'pods.rangesChanged': { readonly overlay: OverlayId; readonly ranges: readonly string[] | null };

  /** The host side of an overlay stands. */
  'bridges.deviceReady': DeviceSummary;
  /** The host side could not be made. */
  'bridges.deviceFailed': { readonly overlay: OverlayId; readonly problem: Problem };
}

export type EventName = keyof Events;

/** The modules that own events; only the owner may publish them. */
export type Owner = EventName extends `${infer O}.${string}` ? O : never;
export type OwnedBy<O extends Owner> = Extract<EventName, `${O}.${string}`>;

/** An event with its name, as taps and `evio watch` see it. */
export type BusEvent = {
  readonly [N in EventName]: { readonly name: N; readonly event: Events[N] };
}[EventName];
