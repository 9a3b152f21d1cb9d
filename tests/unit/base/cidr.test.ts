/** Addresses and ranges of both families: texts, arithmetic, what is refused. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  contains,
  covers,
  formatAddress,
  formatRange,
  isSpecial,
  overlaps,
  parseAddress,
  parseInterface,
  parseRange,
  type Range,
} from '../../../base/cidr.ts';
import { suite } from '../../support/harness.ts';

const test = suite('cidr');

function rangeOf(text: string): Range {
  const range = parseRange(text);
  assert.ok(range !== null, text);
  return range;
}

test('IPv6 is printed as RFC 5952 has it', () => {
  const forms = [
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['fd42:0:0:1::2', 'fd42:0:0:1::2'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
    ['1::', '1::'],
  ] as const;
  for (const [text, wanted] of forms) {
    const address = parseAddress(text);
    assert.equal(address === null ? null : formatAddress(address), wanted);
  }
});

test('what is no address is refused', () => {
  const texts = [
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
    '::1::',
    ':1',
    '1:2:3:4:5:6:7',
    'fe80::1%eth0',
    '12345::',
    '1:2:3:4:5:6:7:8:9',
    ' 1.2.3.4',
    '1.2.3.4::',
  ];
  assert.deepEqual(
    texts.filter((text) => parseAddress(text) !== null),
    [],
  );
});

test('a range has no host bits, an interface may', () => {
  assert.equal(parseRange('10.42.1.1/24'), null);
  assert.equal(parseRange('10.42.1.0/33'), null);
  assert.equal(parseRange('10.42.1.0'), null);
  const found = parseInterface('10.42.1.7/24');
  assert.equal(found === null ? null : formatRange(found.range), '10.42.1.0/24');
});

test('overlap, containment and cover agree with counting', () => {
  const small = fc.tuple(fc.nat(255), fc.integer({ min: 24, max: 32 })).map(([bits, length]) => {
    const size = 2 ** (32 - length);
    return rangeOf(`10.0.0.${bits - (bits % size)}/${length}`);
  });
  const all = ({ first, last }: Range): readonly bigint[] =>
    Array.from({ length: Number(last - first) + 1 }, (_, index) => first + BigInt(index));
  fc.assert(
    fc.property(small, small, (a, b) => {
      const [inA, inB] = [new Set(all(a)), all(b)];
      assert.equal(
        overlaps(a, b),
        inB.some((bits) => inA.has(bits)),
      );
      assert.equal(
        covers(a, b),
        inB.every((bits) => inA.has(bits)),
      );
      assert.equal(contains(a, { family: 4, bits: b.first }), inA.has(b.first));
    }),
  );
});

test('texts and values go round', () => {
  const v6 = fc
    .bigInt({ min: 0n, max: (1n << 128n) - 1n })
    .map((bits) => ({ family: 6 as const, bits }));
  const v4 = fc
    .bigInt({ min: 0n, max: (1n << 32n) - 1n })
    .map((bits) => ({ family: 4 as const, bits }));
  fc.assert(
    fc.property(fc.oneof(v4, v6), (address) =>
      assert.deepEqual(parseAddress(formatAddress(address)), address),
    ),
  );
});

test('ranges that are for no host are known', () => {
  for (const text of [
    '0.0.0.0/0',
    '127.0.0.0/8',
    '169.254.1.0/24',
    '239.0.0.0/8',
    '::/0',
    'fe80::/64',
    'ff02::/16',
  ]) {
    assert.ok(isSpecial(rangeOf(text)), text);
  }
  for (const text of ['10.0.0.0/8', '100.64.0.0/10', '192.0.2.0/24', 'fd00::/8', '2001:db8::/32']) {
    assert.ok(!isSpecial(rangeOf(text)), text);
  }
});
