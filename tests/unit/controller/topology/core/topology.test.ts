/**
 * The topology machine: what it wants of whom, one test per refusal code, what it does about
 * failures, loss and leaving.
 */
import assert from 'node:assert/strict';
import type { NodeId } from '../../../../../base/ids.ts';
import type { LinkMessage, LinkReason } from '../../../../../controller/peer-messages.ts';
import {
  answerMs,
  defaultTopology,
  maxAsks,
  maxIncomingSetUps,
  maxLinks,
  recoverMs,
  settleMs,
  setUpMs,
  type TopologyConfig,
} from '../../../../../controller/topology/core/config.ts';
import {
  initialTopology,
  type TopologyEffect,
  type TopologyInput,
  type TopologyState,
} from '../../../../../controller/topology/core/state.ts';
import { nextTopology } from '../../../../../controller/topology/core/topology.ts';
import { suite } from '../../../../support/harness.ts';
import { randomId, seeded } from '../../../../support/virtual-time.ts';

const test = suite('topology machine');

/** One node, alone in the test: what it says is collected, what it hears is made up. */
class Bench {
  nowMs = 1_000;
  state: TopologyState;
  effects: TopologyEffect[] = [];
  readonly random = seeded(5);
  readonly self: NodeId;
  /** Clockwise of this node. */
  readonly others: readonly NodeId[];

  constructor(peers: number, config: (others: readonly NodeId[]) => Partial<TopologyConfig>) {
    const random = seeded(peers);
    const ids = Array.from({ length: peers + 1 }, () => randomId(random)).sort();
    const [self, ...others] = ids;
    assert.ok(self !== undefined);
    this.self = self;
    this.others = others;
    this.state = initialTopology(self, { ...defaultTopology, ...config(others) });
  }

  hear(input: TopologyInput): readonly TopologyEffect[] {
    const step = nextTopology(this.state, input, this.nowMs, this.random);
    this.state = step.state;
    this.effects.push(...step.effects);
    return step.effects;
  }

  later(ms: number): readonly TopologyEffect[] {
    const before = this.effects.length;
    const end = this.nowMs + ms;
    for (let at = this.state.wakeMs; at !== null && at <= end; at = this.state.wakeMs) {
      this.nowMs = Math.max(at, this.nowMs);
      this.hear({ kind: 'tick' });
    }
    this.nowMs = end;
    return this.effects.slice(before);
  }

  seeAll(leaves: readonly NodeId[] = []): readonly TopologyEffect[] {
    this.hear({ kind: 'peers-seen', peers: this.others, leaves });
    return this.later(settleMs);
  }

  message(from: NodeId, message: LinkMessage): readonly TopologyEffect[] {
    return this.hear({ kind: 'message', from, message });
  }

  request(from: NodeId, reason: LinkReason, claim = 7): LinkMessage | undefined {
    return sent(this.message(from, { kind: 'link-request', claim, reason }))[0]?.[1];
  }

  /** Grants all that was asked for and lets the links come up, until nothing more is asked. */
  agree(refuse: (peer: NodeId) => boolean = () => false): void {
    let todo = this.effects.splice(0);
    while (todo.length > 0) {
      for (const [to, message] of sent(todo)) {
        if (message.kind !== 'link-request') continue;
        const refusal = refuse(to) ? 'incoming-cap' : null;
        this.message(to, { kind: 'link-answer', claim: message.claim, refusal });
        if (refusal === null) this.hear({ kind: 'link-up', peer: to });
      }
      todo = this.effects.splice(0);
    }
  }

  own(reason: LinkReason): readonly NodeId[] {
    return [...this.state.links]
      .filter(([, { own }]) => own?.reason === reason)
      .map(([peer]) => peer)
      .sort();
  }

  at(index: number): NodeId {
    const id = this.others.at(index);
    assert.ok(id !== undefined);
    return id;
  }
}

const bench = (
  peers: number,
  config: (others: readonly NodeId[]) => Partial<TopologyConfig> = () => ({}),
): Bench => new Bench(peers, config);

const sent = (effects: readonly TopologyEffect[]): readonly (readonly [NodeId, LinkMessage])[] =>
  effects.flatMap((effect) => (effect.kind === 'send' ? [[effect.to, effect.message]] : []));

const ofKind = (effects: readonly TopologyEffect[], kind: 'want' | 'unwant'): readonly NodeId[] =>
  effects.flatMap((effect) => (effect.kind === kind ? [effect.peer] : []));

test('a tick that comes early is asked for once more', () => {
  const b = bench(3);
  b.hear({ kind: 'peers-seen', peers: b.others, leaves: [] });
  const atMs = b.nowMs + settleMs;
  b.nowMs = atMs - 1; // timers may be early by a millisecond
  assert.deepEqual(b.hear({ kind: 'tick' }), [{ kind: 'wake', atMs }]);
  b.nowMs = atMs;
  assert.notDeepEqual(sent(b.hear({ kind: 'tick' })), []);
});

test('alone it idles; with one other it asks for one link', () => {
  const alone = bench(0);
  assert.deepEqual(alone.later(600_000), []);
  const pair = bench(1);
  assert.equal(sent(pair.seeAll()).length, 1);
  pair.agree();
  assert.deepEqual(pair.own('successor'), [pair.at(0)]);
  assert.deepEqual(sent(pair.later(600_000)), []);
});

test('the next two clockwise and ⌊log2(n + 1)⌋ long ones are wanted, a few at once', () => {
  const node = bench(40);
  const first = sent(node.seeAll());
  assert.equal(first.length, defaultTopology.maxConcurrent);
  assert.deepEqual(
    first
      .slice(0, 2)
      .map(([to]) => to)
      .sort(),
    node.others.slice(0, 2),
  );
  node.agree();
  assert.deepEqual(node.own('successor'), node.others.slice(0, 2));
  assert.equal(node.own('long-distance').length, 5);
});

test('the old successor is kept until the new one is up', () => {
  const node = bench(6);
  const [first, second, third] = [node.at(0), node.at(1), node.at(2)];
  node.hear({ kind: 'peers-seen', peers: node.others.slice(1), leaves: [] });
  node.later(settleMs);
  node.agree();
  assert.deepEqual(node.own('successor'), [second, third]);
  node.hear({ kind: 'peers-seen', peers: [first], leaves: [] });
  const asked = sent(node.later(settleMs)).find(([to]) => to === first)?.[1];
  assert.ok(asked?.kind === 'link-request');
  node.message(first, { kind: 'link-answer', claim: asked.claim, refusal: null });
  assert.ok(node.own('successor').includes(third));
  assert.deepEqual(ofKind(node.effects, 'unwant'), []);
  node.hear({ kind: 'link-up', peer: first });
  assert.deepEqual(node.own('successor'), [first, second]);
});

test('manual topology: exactly the listed edges, others only if they list this node', () => {
  const node = bench(9, (others) => ({ manual: true, staticEdges: others.slice(4, 6) }));
  node.seeAll();
  node.agree();
  assert.deepEqual([...node.state.links.keys()].sort(), node.others.slice(4, 6));
  const refused = node.request(node.at(0), 'successor');
  assert.ok(refused?.kind === 'link-answer' && refused.refusal === 'manual');
  const taken = node.request(node.at(1), 'static');
  assert.ok(taken?.kind === 'link-answer' && taken.refusal === null);
});

test('a leaf has its static edges, or one uplink, and refuses requests', () => {
  const free = bench(9, () => ({ role: 'leaf' }));
  free.seeAll([free.at(0)]);
  free.agree();
  assert.deepEqual([...free.state.links.keys()], [free.at(1)], 'the next that is no leaf');
  const answer = free.request(free.at(5), 'successor');
  assert.ok(answer?.kind === 'link-answer' && answer.refusal === 'leaf');
  const listed = bench(9, (others) => ({ role: 'leaf', staticEdges: others.slice(6, 7) }));
  listed.seeAll();
  listed.agree();
  assert.deepEqual([...listed.state.links.keys()], [listed.at(6)]);
});

test('who says "leaf" is nobody’s successor from then on', () => {
  const node = bench(9);
  const [, message] = sent(node.seeAll()).find(([to]) => to === node.at(0)) ?? [];
  assert.ok(message?.kind === 'link-request');
  node.message(node.at(0), { kind: 'link-answer', claim: message.claim, refusal: 'leaf' });
  node.agree();
  assert.deepEqual(node.own('successor'), node.others.slice(1, 3));
});

test('a static edge to a leaf that refuses it is asked for seldom, not at every answer', () => {
  const node = bench(1, (others) => ({ staticEdges: others }));
  let asked = 0;
  for (let todo = sent(node.seeAll([node.at(0)])); node.nowMs < 600_000; ) {
    const [, request] = todo[0] ?? [];
    if (request?.kind === 'link-request') {
      asked += 1;
      node.nowMs += 50;
      const answer = { kind: 'link-answer', claim: request.claim, refusal: 'leaf' } as const;
      todo = sent(node.message(node.at(0), answer));
    } else todo = sent(node.later(1_000));
  }
  assert.ok(asked >= 10 && asked <= 30, `${asked} times in ten minutes`);
});

test('what is too close for a long-distance link is not asked for one', () => {
  const node = bench(13, () => ({ minSuccessors: 3, maxLongDistance: 13, maxConcurrent: 13 }));
  // No predecessor has asked for a link here: it may want fewer successors than this node.
  const asked = sent(node.seeAll()).flatMap(([to, message]) =>
    message.kind === 'link-request' && message.reason === 'long-distance' ? [to] : [],
  );
  const far = node.others.slice(3, 10);
  assert.ok(asked.length > 0 && asked.every((peer) => far.includes(peer)));
});

test('incoming-cap: one more long-distance link than the cap is refused, other reasons pass', () => {
  const node = bench(30, () => ({ incomingCap: 3 }));
  for (const index of [0, 1, 2]) {
    const answer = node.request(node.at(index), 'long-distance');
    assert.ok(answer?.kind === 'link-answer' && answer.refusal === null);
  }
  const fourth = node.request(node.at(3), 'long-distance');
  assert.ok(fourth?.kind === 'link-answer' && fourth.refusal === 'incoming-cap');
  const again = node.request(node.at(1), 'long-distance', 8);
  assert.ok(again?.kind === 'link-answer' && again.refusal === null, 'the same one again');
  const successor = node.request(node.at(4), 'successor');
  assert.ok(successor?.kind === 'link-answer' && successor.refusal === null);
  node.message(node.at(0), { kind: 'link-ended', claim: 7, leaving: false });
  const later = node.request(node.at(3), 'long-distance', 9);
  assert.ok(later?.kind === 'link-answer' && later.refusal === null, 'room again');
});

test('incoming-cap makes it draw somebody else at once, and not that one again', () => {
  const node = bench(40);
  node.seeAll();
  const full = new Set(node.others.slice(5, 25));
  node.agree((peer) => full.has(peer));
  assert.equal(node.own('long-distance').length, 5);
  assert.ok(node.own('long-distance').every((peer) => !full.has(peer)));
});

test('busy: more set-ups than it takes at once are put off, but not those of the ring', () => {
  const node = bench(60, () => ({ incomingCap: 100 }));
  for (let n = 0; n < maxIncomingSetUps; n += 1) node.request(node.at(n), 'long-distance');
  const one = node.request(node.at(40), 'long-distance');
  assert.ok(one?.kind === 'link-answer' && one.refusal === 'busy');
  const ring = node.request(node.at(41), 'successor');
  assert.ok(ring?.kind === 'link-answer' && ring.refusal === null);
});

test('too-many-links: the table is bounded', () => {
  const node = bench(maxLinks + 1);
  for (let n = 0; n < maxLinks; n += 1) node.request(node.at(n), 'static');
  const answer = node.request(node.at(maxLinks), 'static');
  assert.ok(answer?.kind === 'link-answer' && answer.refusal === 'too-many-links');
});

test('leaving is announced to every link, and nothing is granted from then on', () => {
  const node = bench(8);
  node.seeAll();
  node.agree();
  const said = sent(node.hear({ kind: 'leave' }));
  assert.deepEqual(said.map(([to]) => to).sort(), [...node.state.links.keys()].sort());
  assert.ok(said.every(([, message]) => message.kind === 'link-ended' && message.leaving));
  const answer = node.request(node.at(7), 'successor');
  assert.ok(answer?.kind === 'link-answer' && answer.refusal === 'leaving');
});

test('a peer that leaves is replaced at once', () => {
  const node = bench(8);
  node.seeAll();
  node.agree();
  const effects = node.message(node.at(0), { kind: 'link-ended', claim: 9, leaving: true });
  assert.deepEqual(ofKind(effects, 'unwant'), [node.at(0)]);
  node.effects = [...effects];
  node.agree();
  assert.deepEqual(node.own('successor'), node.others.slice(1, 3));
});

test('not-up, unknown-overlay: the claim is dropped, and asked for again after a while', () => {
  for (const refusal of ['not-up', 'unknown-overlay'] as const) {
    const node = bench(1);
    const [, message] = sent(node.seeAll())[0] ?? [];
    assert.ok(message?.kind === 'link-request');
    node.message(node.at(0), { kind: 'link-answer', claim: message.claim, refusal });
    assert.equal(node.state.links.size, 0);
    assert.equal(sent(node.later(900)).length, 0);
    assert.equal(sent(node.later(1_200)).length, 1);
  }
});

test('without an answer it asks a few times, then leaves the peer alone for longer and longer', () => {
  const node = bench(1);
  node.seeAll();
  const requests = sent(node.later(3_600_000)).filter(([, m]) => m.kind === 'link-request');
  const cycle = maxAsks * answerMs;
  const rounds = requests.length / maxAsks;
  assert.ok(rounds > 3_600_000 / (60_000 + cycle) - 1, `${rounds} rounds: never for good`);
  assert.ok(rounds < 3_600_000 / (30_000 + cycle) + 8, `${rounds} rounds: thinned out`);
});

test('a link that does not come up is given up by both, one that was up may come back', () => {
  const node = bench(1);
  const [, message] = sent(node.seeAll())[0] ?? [];
  assert.ok(message?.kind === 'link-request');
  const { claim } = message;
  const granted = node.message(node.at(0), { kind: 'link-answer', claim, refusal: null });
  assert.deepEqual(ofKind(granted, 'want'), [node.at(0)]);
  assert.deepEqual(ofKind(node.later(setUpMs - 1), 'unwant'), []);
  const late = node.later(2);
  assert.deepEqual(ofKind(late, 'unwant'), [node.at(0)]);
  assert.ok(sent(late).some(([, m]) => m.kind === 'link-ended'));

  const other = bench(1);
  other.seeAll();
  other.agree();
  other.hear({ kind: 'link-down', peer: other.at(0) });
  assert.deepEqual(ofKind(other.later(recoverMs - 1), 'unwant'), []);
  other.hear({ kind: 'link-up', peer: other.at(0) });
  assert.deepEqual(ofKind(other.later(120_000), 'unwant'), []);
});

test('our own signalling lost: links stay, nothing is given up, and the return changes nothing', () => {
  const node = bench(40);
  node.seeAll();
  node.agree();
  const links = [...node.state.links.keys()].sort();
  for (const peer of node.others) node.hear({ kind: 'peer-lost', peer, reason: 'signal-lost' });
  assert.deepEqual(ofKind(node.later(600_000), 'unwant'), []);
  node.hear({ kind: 'peers-seen', peers: node.others, leaves: [] });
  node.effects = [];
  assert.deepEqual(ofKind(node.later(60_000), 'unwant'), []);
  assert.deepEqual([...node.state.links.keys()].sort(), links);
});

test('a removed member loses its link at once, one that left when its link ends', () => {
  const node = bench(8);
  node.seeAll();
  node.agree();
  const removed = node.hear({ kind: 'peer-lost', peer: node.at(0), reason: 'removed' });
  assert.deepEqual(ofKind(removed, 'unwant'), [node.at(0)]);
  const left = node.hear({ kind: 'peer-lost', peer: node.at(1), reason: 'left' });
  assert.deepEqual(ofKind(left, 'unwant'), []);
  const down = node.hear({ kind: 'link-down', peer: node.at(1) });
  assert.deepEqual(ofKind(down, 'unwant'), [node.at(1)]);
  assert.deepEqual(node.state.ring, node.others.slice(2));
});

test('traffic with a node that has no link opens one; quiet ends it after its age', () => {
  const onDemand = { max: 1, thresholdBytesPerSecond: 1_000_000, minAgeMs: 60_000 };
  const node = bench(40, () => ({ onDemand }));
  node.seeAll();
  node.agree();
  const far = node.others.find((id) => !node.state.links.has(id));
  assert.ok(far !== undefined);
  node.hear({ kind: 'traffic', sample: new Map([[far, 20_000_000]]) });
  node.agree();
  assert.deepEqual(node.own('on-demand'), [far]);
  let unwanted: readonly NodeId[] = [];
  let endedMs = 0;
  for (let n = 1; n <= 12 && unwanted.length === 0; n += 1) {
    node.later(10_000);
    unwanted = ofKind(node.hear({ kind: 'traffic', sample: new Map() }), 'unwant');
    endedMs = n * 10_000;
  }
  assert.deepEqual(unwanted, [far]);
  assert.equal(endedMs, 60_000);
});

test('a grant of what is no longer claimed is given back', () => {
  const node = bench(1);
  node.seeAll();
  const claim = node.state.lastClaim;
  node.message(node.at(0), { kind: 'link-answer', claim, refusal: 'not-up' });
  const late = node.message(node.at(0), { kind: 'link-answer', claim, refusal: null });
  assert.deepEqual(sent(late), [[node.at(0), { kind: 'link-ended', claim, leaving: false }]]);
  assert.deepEqual(ofKind(late, 'want'), []);
});

test('an older word of the peer does not undo a newer one', () => {
  const node = bench(30);
  const peer = node.at(20);
  node.request(peer, 'successor', 9);
  assert.equal(node.request(peer, 'long-distance', 8), undefined);
  node.message(peer, { kind: 'link-ended', claim: 8, leaving: false });
  assert.deepEqual(node.state.links.get(peer)?.theirs, { claim: 9, reason: 'successor' });
  assert.deepEqual(
    ofKind(node.message(peer, { kind: 'link-ended', claim: 9, leaving: false }), 'unwant'),
    [peer],
  );
});

test('a peer that may have been started anew is told our claim again', () => {
  const node = bench(2);
  node.seeAll();
  node.agree();
  const claimed = node.state.links.get(node.at(0))?.own;
  assert.ok(claimed);
  const request = { kind: 'link-request', claim: claimed.claim, reason: 'successor' };
  const seen = node.hear({ kind: 'peers-seen', peers: [node.at(0)], leaves: [] });
  assert.deepEqual(sent(seen), [[node.at(0), request]]);
  const down = node.hear({ kind: 'link-down', peer: node.at(0) });
  assert.deepEqual(sent(down), [[node.at(0), request]]);
});
