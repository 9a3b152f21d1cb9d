/**
 * The one door to werift: its ICE and the sockets that this uses. The package's own entry also loads
 * its DTLS, RTP and SCTP and two certificate libraries, which nothing here uses and nothing here should
 * be able to reach: 15 MiB and 0.1 s for each tunnel process. `lib/ice`, with two small folders beside it,
 * stands alone; the version is pinned, and a test sees that the rest stays out.
 */
import { createRequire } from 'node:module';
import type * as Werift from 'werift';

const require = createRequire(import.meta.url);
const load = (path: string): typeof Werift =>
  require(require.resolve('werift').replace('/webrtc/src/index.js', path));

export const {
  Candidate,
  CandidatePairState,
  Connection,
  Message,
  StunOverTurnProtocol,
  StunProtocol,
  TurnProtocol,
  candidateFoundation,
  candidatePriority,
  classes,
  methods,
  parseMessage,
} = load('/ice/src/index.js');
export const { UdpTransport } = load('/common/src/index.js');

export type Candidate = Werift.Candidate;
export type CandidatePair = Werift.CandidatePair;
export type Connection = Werift.Connection;
export type Message = Werift.Message;
export type StunOverTurnProtocol = Werift.StunOverTurnProtocol;
export type StunProtocol = Werift.StunProtocol;
export type TurnProtocol = Werift.TurnProtocol;
