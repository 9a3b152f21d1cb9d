/**
 * The attempts of one peer session that are under way or whose sockets are in use: starts them, turns
 * what happens to them into inputs, has them described to the peer, and ends them. Owns what the last
 * one found out about the paths; decides nothing.
 */

import { messageOf } from '../../base/errors.ts';
import type { SessionNonce } from '../../base/ids.ts';
import { maxCandidates, type SessionDescription } from '../protocol/description.ts';
import { Attempt } from './attempt.ts';
import { encodeDescription } from './core/in-band-description.ts';
import { pathKind } from './core/path.ts';
import { unreachableNote } from './core/path-note.ts';
import type { Input } from './core/session-state.ts';
import type { KeyExchange } from './key-exchange.ts';
import type { SessionDeps } from './session-contract.ts';

/** First description waits this long for all host candidates, later ones for more to come. */
const firstWordMs = 2;
const moreWordsMs = 30;

export interface AttemptsDeps extends SessionDeps {
  /** The session's. */
  readonly signal: AbortSignal;
  readonly keys: KeyExchange;
  readonly input: (input: Input) => void;
  readonly onDescription: (description: SessionDescription) => void;
  /** Over the session that is up as well: what comes first counts, the other is known by then. */
  readonly sendInBand: (payload: Uint8Array) => boolean;
}

export class Attempts {
  readonly #deps: AttemptsDeps;
  readonly #attempts = new Map<SessionNonce, Attempt>();
  readonly #closing = new Set<Promise<void>>();
  #cause: string | null = null;

  constructor(deps: AttemptsDeps) {
    this.#deps = deps;
  }

  get(own: SessionNonce): Attempt | null {
    return this.#attempts.get(own) ?? null;
  }

  /** Why the last attempt that failed found no path. */
  get cause(): string | null {
    return this.#cause;
  }

  /** A path was found: why there was none is of no interest any more. */
  forgetCause(): void {
    this.#cause = null;
  }

  start(own: SessionNonce, direct: boolean): void {
    const { servers, ignoredInterfaces } = this.#deps.settings();
    const { keys, clock, signal, input } = this.#deps;
    const options = {
      controlling: keys.isServer,
      servers,
      directOnly: direct,
      ignoredInterfaces,
      loopback: this.#deps.loopback,
    };
    const attempt: Attempt = new Attempt(own, this.#deps, options, {
      onCandidates: () => {
        const waitMs = attempt.described < 0 ? firstWordMs : moreWordsMs;
        if (attempt.ice.candidates.length <= attempt.described || attempt.telling) return;
        attempt.telling = true;
        clock.after(waitMs, signal, () => {
          attempt.telling = false;
          if (!attempt.closed) input({ kind: 'candidates', own });
        });
      },
      onSelected: () => input({ kind: 'validated', own }),
      onIceFailed: (reason) => input({ kind: 'ice-failed', own, reason }),
      onSecured: (secured) => {
        const problem = keys.problemOf(secured);
        if (problem === null) input({ kind: 'secured', own, relayed: isRelayed(attempt) });
        else input({ kind: 'insecure', own, reason: problem, refused: true });
      },
      onInsecure: (reason) => input({ kind: 'insecure', own, reason, refused: false }),
    });
    this.#attempts.set(own, attempt);
    attempt.start();
  }

  startHandshake(own: SessionNonce): void {
    const { createHandshake, keys } = this.#deps;
    this.get(own)?.startHandshake(createHandshake, keys.options());
  }

  drop(own: SessionNonce): void {
    const attempt = this.#attempts.get(own);
    this.#attempts.delete(own);
    if (attempt === undefined) return;
    if (attempt.selected === null) this.#cause = unreachableNote(attempt.ice.diagnosis);
    const closing = attempt
      .close()
      .catch((error: unknown) => {
        this.#deps.log.warn('attempt did not close cleanly', { error: messageOf(error) });
      })
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** Tells the peer our side of the attempt, by the signalling and in-band. */
  describe(own: SessionNonce, peerNonce: SessionNonce | null): void {
    const attempt = this.#attempts.get(own);
    if (attempt === undefined) return;
    const { ufrag, password, candidates, complete } = attempt.ice;
    if (candidates.length === 0 && !complete) return; // said as soon as there is one
    attempt.described = candidates.length;
    const description: SessionDescription = {
      nonce: own,
      peerNonce,
      ufrag,
      password,
      candidates: candidates.slice(0, maxCandidates),
      complete,
      ...(attempt.direct ? { directOnly: true } : {}),
    };
    this.#deps.onDescription(description);
    const payload = encodeDescription(description);
    if (payload !== null) this.#deps.sendInBand(payload);
  }

  /** Ends all, and waits for those that are ending. */
  async close(): Promise<void> {
    for (const own of [...this.#attempts.keys()]) this.drop(own);
    await Promise.all(this.#closing);
  }
}

const isRelayed = ({ selected }: Attempt): boolean =>
  selected !== null && pathKind(selected.facts) === 'turn';
