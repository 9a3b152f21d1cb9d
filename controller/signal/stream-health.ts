/**
 * Whether a stream still leads to its server: asked now and then, and at once when the network of this
 * host has changed. Owns the questions; a stream without an answer is abandoned.
 */
import type { Clock } from '../../base/clock.ts';
import type { SignalPolicy } from './deps.ts';
import { StanzaError } from './pending-requests.ts';
import { sourceTowards } from './source-address.ts';
import { pingRequest } from './stanzas-out.ts';
import type { XmppStream } from './xmpp/contract.ts';

/** A server that does not answer a ping is gone, whatever TCP says. `session` ends with the stream. */
export function keepAsking(
  stream: XmppStream,
  domain: string,
  clock: Clock,
  policy: SignalPolicy,
  session: AbortSignal,
): void {
  const again = (): void => keepAsking(stream, domain, clock, policy, session);
  clock.after(policy.pingEveryMs, session, () => {
    stream.request(pingRequest(domain), policy.pingDeadlineMs).then(again, (error: unknown) => {
      // An error answer is an answer: the server is there and does not know pings.
      if (error instanceof StanzaError) again();
      else if (!session.aborted) stream.abandon('the server does not answer');
    });
  });
}

/** Why the stream is of no use on the network of now; null: it is. */
export async function problemNow(
  stream: XmppStream,
  domain: string,
  deadlineMs: number,
): Promise<string | null> {
  const { ends } = stream;
  const source = ends === null ? null : await sourceTowards(ends.remote, ends.remotePort);
  if (ends === null || source !== ends.local) return 'the network of this host changed';
  return stream.request(pingRequest(domain), deadlineMs).then(
    () => null,
    (error: unknown) => (error instanceof StanzaError ? null : 'the server does not answer'),
  );
}
