/**
 * Two negotiators over a network that delays, reorders, duplicates and loses: whatever happened
 * before, a calm network brings both to one pair of attempts, and they stay there.
 */
import { strict as assert } from 'node:assert';
import fc from 'fast-check';
import { SessionNonce } from '../../base/ids.ts';
import {
  abandon,
  confirm,
  type Heard,
  hear,
  idle,
  type Negotiation,
  open,
} from '../../tincan-bridge/session/core/negotiation.ts';
import { suite } from '../support/harness.ts';

const test = suite('negotiation');

type Side = 0 | 1;
interface World {
  readonly sides: [Negotiation, Negotiation];
  readonly wires: [Heard[], Heard[]]; // wires[n]: on the way to side n
  starts: number;
  nonces: number;
}

const other = (side: Side): Side => (side === 0 ? 1 : 0);
const fresh = (world: World): SessionNonce =>
  SessionNonce.parse((++world.nonces).toString(16).padStart(16, '0'));

function say(world: World, side: Side): void {
  const state = world.sides[side];
  if (state.kind === 'idle') return;
  const peerNonce = state.kind === 'paired' ? state.peer : null;
  world.wires[other(side)].push({ nonce: state.own, peerNonce });
}

function deliver(world: World, side: Side, index: number, keep: boolean): void {
  const wire = world.wires[side];
  if (wire.length === 0) return;
  const at = index % wire.length;
  const message = wire[at];
  if (message === undefined) return;
  if (!keep) wire.splice(at, 1);
  const { next, verdict } = hear(world.sides[side], message, fresh(world));
  world.sides[side] = next;
  if (verdict.kind === 'start-offered' || verdict.kind === 'start-paired') {
    world.starts += 1;
    say(world, side);
  } else if (verdict.kind !== 'ignore' && verdict.answer) say(world, side);
}

type Move =
  | { readonly kind: 'open' | 'restart' | 'fail' | 'repeat'; readonly side: Side }
  | { readonly kind: 'deliver' | 'copy' | 'lose'; readonly side: Side; readonly index: number };

const side = fc.constantFrom<Side>(0, 1);
const move: fc.Arbitrary<Move> = fc.oneof(
  fc.record({ kind: fc.constantFrom('open', 'restart', 'fail', 'repeat'), side }),
  fc.record({ kind: fc.constantFrom('deliver', 'copy', 'lose'), side, index: fc.nat(20) }),
  fc.record({ kind: fc.constant('deliver' as const), side, index: fc.nat(20) }),
) as fc.Arbitrary<Move>;

function apply(world: World, m: Move): void {
  switch (m.kind) {
    case 'open':
      if (world.sides[m.side].kind !== 'idle') return;
      world.sides[m.side] = open(world.sides[m.side], fresh(world));
      say(world, m.side);
      return;
    case 'fail':
      world.sides[m.side] = abandon(world.sides[m.side]);
      return;
    case 'restart':
      world.sides[m.side] = open(idle, fresh(world));
      say(world, m.side);
      return;
    case 'repeat':
      say(world, m.side);
      return;
    case 'deliver':
      deliver(world, m.side, m.index, false);
      return;
    case 'copy':
      deliver(world, m.side, m.index, true);
      return;
    case 'lose':
      world.wires[m.side].splice(m.index, 1);
  }
}

function agreed(world: World): boolean {
  const [a, b] = world.sides;
  return a.kind === 'paired' && b.kind === 'paired' && a.own === b.peer && b.own === a.peer;
}

/** In order and without loss; what is not confirmed repeats itself when the wires are empty. */
function calm(world: World, order: readonly boolean[]): void {
  let step = 0;
  for (let round = 0; round < 8; round += 1) {
    for (const n of [0, 1] as const) {
      const state = world.sides[n];
      if (state.kind === 'idle') apply(world, { kind: 'open', side: n });
      else if (state.kind === 'offered' || !state.confirmed) say(world, n);
    }
    while (world.wires[0].length + world.wires[1].length > 0) {
      assert.ok(++step < 500, 'the calm network never falls silent: a livelock');
      const first: Side = order[step % order.length] === true ? 1 : 0;
      deliver(world, world.wires[first].length > 0 ? first : other(first), 0, false);
    }
  }
}

const newWorld = (): World => ({ sides: [idle, idle], wires: [[], []], starts: 0, nonces: 0 });

test('after any history, a calm network brings both sides to one pair of attempts', () => {
  fc.assert(
    fc.property(
      fc.array(move, { maxLength: 40 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 16 }),
      (moves, order) => {
        const world = newWorld();
        for (const m of moves) apply(world, m);
        world.starts = 0;
        calm(world, order);
        assert.ok(agreed(world), JSON.stringify(world));
        assert.ok(world.starts <= 24, `${world.starts} new attempts in a calm network`);
      },
    ),
    { numRuns: 30_000 },
  );
}, 60_000);

test('two sides that agree are not moved by copies of anything that was said before', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 30 }), (copies) => {
      const world = newWorld();
      apply(world, { kind: 'restart', side: 0 });
      apply(world, { kind: 'restart', side: 1 });
      apply(world, { kind: 'restart', side: 0 });
      const said: Array<readonly [Side, Heard]> = [];
      for (const n of [0, 1] as const) for (const m of world.wires[n]) said.push([n, m]);
      calm(world, [true, false]);
      for (const n of [0, 1] as const) world.sides[n] = confirm(world.sides[n]); // ICE connected
      const before = JSON.stringify(world.sides);
      const current = new Set(world.sides.flatMap((s) => (s.kind === 'paired' ? [s.own] : [])));
      for (const c of copies) {
        const copy = said[c % said.length];
        // Copies of an attempt that this side never got to hear of cannot be told from a new one.
        const seen = world.sides[copy?.[0] ?? 0];
        if (copy === undefined || !seen.retired.concat([...current]).includes(copy[1].nonce))
          continue;
        world.wires[copy[0]].push(copy[1]);
        deliver(world, copy[0], world.wires[copy[0]].length - 1, false);
        world.wires[other(copy[0])].length = 0;
      }
      const after = world.sides.map((s) => (s.kind === 'paired' ? [s.own, s.peer] : []));
      const earlier = (JSON.parse(before) as Negotiation[]).map((s) =>
        s.kind === 'paired' ? [s.own, s.peer] : [],
      );
      assert.deepEqual(after, earlier);
    }),
    { numRuns: 500 },
  );
}, 30_000);

test('both sides open at the same moment: one attempt each, no third', () => {
  const world = newWorld();
  apply(world, { kind: 'open', side: 0 });
  apply(world, { kind: 'open', side: 1 });
  calm(world, [true, false]);
  assert.ok(agreed(world));
  assert.equal(world.starts, 0);
});

test('a side that restarts pulls the other one over with one new attempt', () => {
  const world = newWorld();
  apply(world, { kind: 'open', side: 0 });
  calm(world, [true]);
  world.starts = 0;
  apply(world, { kind: 'restart', side: 1 });
  calm(world, [false]);
  assert.ok(agreed(world));
  assert.equal(world.starts, 1);
});
