/**
 * Frames of the host for stations behind a node with whom a session is being made: the first ones wait
 * for it, so that nothing is lost and no transit node reads them. Owns the queues and their bounds.
 */
import type { NodeId } from '../../base/ids.ts';
import type { Frame } from '../datapath/datapath.ts';

/** Of one node: the first packets of some flows. */
const maxFrames = 64;
const maxBytes = 262_144;
/** Of all nodes together. */
const maxTotalBytes = 4_194_304;
/** A session over the ring takes a search and three round trips; later nobody waits any more. */
const waitMs = 5_000;

interface Queue {
  readonly frames: Frame[];
  /** Those of them that are questions for an address. */
  readonly questions: Set<string>;
  bytes: number;
  readonly untilMs: number;
}

export class WaitingFrames {
  readonly #queues = new Map<NodeId, Queue>();
  #bytes = 0;

  get size(): number {
    return this.#queues.size;
  }

  /** False: no room. A question that waits already is not added again. */
  add(node: NodeId, frame: Frame, nowMs: number, question: string | null = null): boolean {
    const queue = this.#queues.get(node) ?? {
      frames: [],
      questions: new Set(),
      bytes: 0,
      untilMs: nowMs + waitMs,
    };
    const { length } = frame.bytes;
    if (question !== null && queue.questions.has(question)) return true;
    if (queue.frames.length >= maxFrames || queue.bytes + length > maxBytes) return false;
    if (this.#bytes + length > maxTotalBytes) return false;
    queue.frames.push(frame);
    if (question !== null) queue.questions.add(question);
    queue.bytes += length;
    this.#bytes += length;
    this.#queues.set(node, queue);
    return true;
  }

  /** The node for whom this question waits, or null. */
  asked(question: string): NodeId | null {
    for (const [node, { questions }] of this.#queues) if (questions.has(question)) return node;
    return null;
  }

  /** All of the node, oldest first; they wait no longer. */
  take(node: NodeId): readonly Frame[] {
    const queue = this.#queues.get(node);
    if (queue === undefined) return [];
    this.#queues.delete(node);
    this.#bytes -= queue.bytes;
    return queue.frames;
  }

  /** How many were given up, and of which nodes. */
  expire(nowMs: number): { readonly frames: number; readonly nodes: readonly NodeId[] } {
    const nodes = [...this.#queues].filter(([, q]) => q.untilMs <= nowMs).map(([node]) => node);
    const frames = nodes.reduce((sum, node) => sum + this.take(node).length, 0);
    return { frames, nodes };
  }
}
