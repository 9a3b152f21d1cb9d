/**
 * The associations that carry frames, one for each node, and how large a frame each takes. Owns the list;
 * decides nothing.
 */
import type { NodeId } from '../../base/ids.ts';
import type { SessionNumber } from '../datapath/datapath.ts';

interface Member {
  readonly node: NodeId;
  /** Larger frames are answered. */
  readonly maxFrameBytes: number;
  /** What the devices' MTU may count on. */
  readonly settledBytes: number;
}

export class OnlineNodes {
  readonly #members = new Map<SessionNumber, Member>();
  readonly #numbers = new Map<NodeId, SessionNumber>();

  /** The association carries frames of the node from now on; returns the one that did before. */
  used(
    session: SessionNumber,
    node: NodeId,
    maxFrameBytes: number,
    settled: boolean,
  ): SessionNumber | undefined {
    const before = this.#numbers.get(node);
    const settledBytes = this.#members.get(before ?? session)?.settledBytes ?? maxFrameBytes;
    if (before !== undefined) this.#members.delete(before);
    this.#members.set(session, {
      node,
      maxFrameBytes,
      settledBytes: settled ? maxFrameBytes : settledBytes,
    });
    this.#numbers.set(node, session);
    return before;
  }

  /** An association is gone; returns its node if it was the current one. */
  removed(session: SessionNumber): NodeId | null {
    const member = this.#members.get(session);
    if (member === undefined) return null;
    this.#members.delete(session);
    this.#numbers.delete(member.node);
    return member.node;
  }

  numberOf(node: NodeId): SessionNumber | undefined {
    return this.#numbers.get(node);
  }

  nodeOf(session: SessionNumber): NodeId | undefined {
    return this.#members.get(session)?.node;
  }

  maxFrameBytesOf(session: SessionNumber): number | undefined {
    return this.#members.get(session)?.maxFrameBytes;
  }

  /** The association in use with a node, and what it carries; null without one. */
  sessionWith(
    node: NodeId,
  ): { readonly number: SessionNumber; readonly maxFrameBytes: number } | null {
    const number = this.#numbers.get(node);
    const member = number === undefined ? undefined : this.#members.get(number);
    if (number === undefined || member === undefined) return null;
    return { number, maxFrameBytes: member.maxFrameBytes };
  }

  /** Largest frames that the devices' MTU may count on. */
  settledBytes(): readonly number[] {
    return [...this.#members.values()].map((member) => member.settledBytes);
  }
}
