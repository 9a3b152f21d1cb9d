/**
 * What must hold whatever happens: no address twice and none lost over any run of ADD, DEL, crash and
 * GC; and nodes that share a pool end with ranges that do not overlap.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { formatRange, overlaps, parseRange, type Range } from '../../base/cidr.ts';
import { NodeId, OverlayId } from '../../base/ids.ts';
import { silentLogger } from '../../base/log.ts';
import { capacityOf, nextFree } from '../../cni-plugin/core/addresses.ts';
import { type AttachmentRecord, AttachmentStore } from '../../cni-plugin/ipam.ts';
import {
  chooseClaim,
  type Pool,
  parseRanges,
  yieldsTo,
} from '../../controller/pods/core/claims.ts';
import { suite } from '../support/harness.ts';

const test = suite('pods');

function rangeOf(text: string): Range {
  const range = parseRange(text);
  assert.ok(range !== null, text);
  return range;
}

const ranges = [rangeOf('10.42.1.0/28'), rangeOf('fd42::/124')];
const keyOf = (index: number): string => index.toString(16).padStart(64, '0');

const record = (key: string, addresses: readonly string[]): AttachmentRecord => ({
  version: 1,
  key,
  state: 'ready',
  bootId: 'b',
  network: 'evio',
  overlay: OverlayId.parse('lab'),
  containerId: key,
  ifname: 'eth0',
  netns: '/run/netns/x',
  hostInterface: `evc${key.slice(-11)}`,
  mac: '0a:58:00:00:00:01',
  mtu: 1_420,
  bridge: 'evpd-lab',
  addresses: addresses.map((address) => ({ address: `${address}/28`, gateway: '10.42.1.1' })),
  delegated: null,
  pod: null,
  addedAtMs: 0,
});

interface Step {
  readonly kind: 'add' | 'remove' | 'crash' | 'half';
  readonly index: number;
}
const steps: readonly { readonly weight: number; readonly kind: Step['kind'] }[] = [
  { weight: 6, kind: 'add' },
  { weight: 4, kind: 'remove' },
  { weight: 1, kind: 'crash' },
  { weight: 1, kind: 'half' },
];
const step: fc.Arbitrary<Step> = fc.oneof(
  ...steps.map(({ weight, kind }) => ({
    weight,
    arbitrary: fc.nat(20).map((index): Step => ({ kind, index })),
  })),
);

test('no address is given twice and none is lost, over any run of ADD, DEL and crash', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const folder = mkdtempSync(join(tmpdir(), 'evio-ipam-'));
      try {
        let store = new AttachmentStore(folder, silentLogger);
        const model = new Map<string, readonly string[]>();
        for (const each of steps) {
          if (each.kind === 'crash' || each.kind === 'half') {
            // Half of a file that was being written is no attachment.
            if (each.kind === 'half')
              writeFileSync(join(folder, `${keyOf(99)}.json.new`), '{"vers');
            store = new AttachmentStore(folder, silentLogger);
          } else if (each.kind === 'remove') {
            store.remove(keyOf(each.index));
            model.delete(keyOf(each.index));
          } else if (!model.has(keyOf(each.index))) {
            const isFull = model.size >= Number(capacityOf(rangeOf('10.42.1.0/28')));
            assert.equal(store.hasFree(ranges), !isFull);
            if (isFull) continue;
            const chosen = store.choose(ranges);
            const given = new Set([...model.values()].flat());
            assert.deepEqual(
              chosen.filter((address) => given.has(address)),
              [],
            );
            store.put(record(keyOf(each.index), chosen));
            model.set(keyOf(each.index), chosen);
          }
          assert.deepEqual(new Set(store.list().map(({ key }) => key)), new Set(model.keys()));
        }
        const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
        assert.equal(files.length, model.size);
      } finally {
        rmSync(folder, { recursive: true });
      }
    }),
    { numRuns: 60 },
  );
}, 60_000);

test('an address that was freed rests until all others had their turn', () => {
  const range = rangeOf('10.42.1.0/28');
  const used = new Set<string>();
  let last: bigint | null = null;
  const seen: string[] = [];
  for (let n = 0; n < Number(capacityOf(range)); n += 1) {
    const address = nextFree(range, used, last);
    assert.ok(address !== null);
    last = address.bits;
    seen.push(String(address.bits));
  }
  assert.equal(new Set(seen).size, Number(capacityOf(range)));
});

const pool: Pool = {
  ranges: [rangeOf('10.42.0.0/20'), rangeOf('fd42::/60')],
  nodeLength: { 4: 24, 6: 64 },
};
const ids = fc.uniqueArray(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), {
  minLength: 1,
  maxLength: 16,
});

test('nodes that share a pool end with ranges that do not overlap, in whatever order they hear', () => {
  fc.assert(
    fc.property(
      ids,
      fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 60 }),
      (numbers, order) => {
        const nodes = numbers.map((n) => NodeId.parse(n.toString(16).padStart(32, '0')));
        const heard = new Map(nodes.map((id) => [id, new Map<NodeId, readonly Range[]>()]));
        const own = new Map<NodeId, readonly Range[]>();
        const claim = (id: NodeId): void => {
          const taken = [...(heard.get(id)?.values() ?? [])].flat();
          const chosen = chooseClaim(pool, id, taken);
          assert.ok(chosen !== null, 'there is room for all');
          own.set(id, chosen);
        };
        const hear = (id: NodeId, other: NodeId): boolean => {
          const theirs = own.get(other) ?? [];
          heard.get(id)?.set(other, theirs);
          const clash = (own.get(id) ?? []).some((mine) =>
            theirs.some((each) => overlaps(mine, each)),
          );
          if (!clash || !yieldsTo(id, other)) return false;
          claim(id);
          return true;
        };
        const at = (index: number): NodeId =>
          nodes[index % nodes.length] ?? NodeId.parse('0'.repeat(32));
        for (const id of nodes) claim(id);
        for (const [x, y] of order) if (at(x) !== at(y)) hear(at(x), at(y));
        // At last everybody hears everybody, as often as somebody moves.
        for (let round = 0, moved = true; moved; round += 1) {
          assert.ok(round < 40, 'it comes to rest');
          moved = false;
          for (const id of nodes)
            for (const other of nodes) if (id !== other && hear(id, other)) moved = true;
        }
        const all = [...own.values()].flat();
        for (const [index, a] of all.entries()) {
          assert.ok(!all.slice(index + 1).some((z) => overlaps(a, z)), formatRange(a));
        }
      },
    ),
    { numRuns: 200 },
  );
}, 30_000);

test('a pool that is exhausted is said to be', () => {
  const small: Pool = { ranges: [rangeOf('10.42.0.0/30')], nodeLength: { 4: 31, 6: 64 } };
  const id = NodeId.parse('f'.repeat(32));
  const first = chooseClaim(small, id, []);
  assert.equal(first?.map(formatRange).join(), '10.42.0.2/31');
  assert.equal(
    chooseClaim(small, id, parseRanges(['10.42.0.2/31']))
      ?.map(formatRange)
      .join(),
    '10.42.0.0/31',
  );
  assert.equal(chooseClaim(small, id, parseRanges(['10.42.0.0/30'])), null);
});
