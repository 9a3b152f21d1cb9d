/** Trust on first use: the rule as a table, and its file. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NodeId, OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import {
  acceptClaim,
  type Claim,
  judgeClaim,
  maxPins,
  maxPinsOfAccount,
  type Pin,
} from '../../../../controller/identity/core/pins.ts';
import { PinStore } from '../../../../controller/identity/index.ts';
import { suite } from '../../../support/harness.ts';
import { startMs, temporaryFolder } from '../../../support/identities.ts';

const test = suite('pins');
const node = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const lab = OverlayId.parse('lab');
const firstSeen = '2026-01-01T00:00:00.000Z';
const alice: Claim = { overlay: lab, account: 'alice@lab.test', name: 'a', node: node(1) };
const pins: readonly Pin[] = [{ ...alice, firstSeen }];

test('one account cannot fill the list: beyond its share it is refused, others are pinned', () => {
  const share = Array.from({ length: maxPinsOfAccount }, (_, i) => ({
    ...alice,
    name: `n${i}`,
    node: node(i + 1),
    firstSeen,
  }));
  const more = judgeClaim(share, { ...alice, name: 'more', node: node(99_999) }, firstSeen);
  assert.match(more.kind === 'refused' ? more.reason : '', /1024 keys of alice@lab.test/);
  const bob = { ...alice, account: 'bob@lab.test', node: node(99_998) };
  assert.equal(judgeClaim(share, bob, firstSeen).kind, 'pinned');
});

for (const [title, change, kind, reason] of [
  ['the pinned key is known', {}, 'known', null],
  ['another key at its place is refused', { node: node(2) }, 'refused', /pinned is 0+1$/],
  ['its key under another name is refused', { name: 'b' }, 'refused', /is pinned to node "a"/],
  ['its key in another account is refused', { account: 'b@lab.test' }, 'refused', /is pinned to/],
  ['another node of the account is pinned', { name: 'b', node: node(2) }, 'pinned', null],
  ['the same name elsewhere is pinned', { account: 'b@x', node: node(2) }, 'pinned', null],
  ['another overlay has pins of its own', { overlay: OverlayId.parse('two') }, 'pinned', null],
] as const) {
  test(title, () => {
    const verdict = judgeClaim(pins, { ...alice, ...change }, firstSeen);
    assert.equal(verdict.kind, kind);
    if (verdict.kind === 'refused' && reason !== null) assert.match(verdict.reason, reason);
    if (verdict.kind === 'pinned')
      assert.deepEqual(verdict.pins, [...pins, { ...alice, ...change, firstSeen }]);
  });
}

test('when all pins are in use a new peer is refused and no old pin dropped', () => {
  const full = Array.from({ length: maxPins }, (_, i) => ({
    ...alice,
    name: `n${i}`,
    node: node(i + 10),
    firstSeen,
  }));
  assert.equal(judgeClaim(full, alice, firstSeen).kind, 'refused');
  assert.equal(judgeClaim(full, { ...alice, name: 'n0', node: node(10) }, firstSeen).kind, 'known');
});

test('an accepted key replaces the pin of its place and its own elsewhere', () => {
  const bob: Claim = { ...alice, name: 'b', node: node(2) };
  const both = acceptClaim(pins, bob, firstSeen);
  assert.equal(both.length, 2);
  const moved = acceptClaim(both, { ...bob, name: 'a' }, firstSeen);
  assert.deepEqual(
    moved.map((p) => [p.name, p.node]),
    [['a', node(2)]],
  );
});

const open = (stateDirectory: string): Promise<PinStore> =>
  PinStore.open({ stateDirectory, log: silentLogger, wallNow: () => startMs });
const certificateDer = new Uint8Array();

test('pins survive a restart, in a file that only we can read', async (t) => {
  const folder = temporaryFolder(t);
  const store = await open(folder);
  for (let n = 1; n <= 20; n += 1) {
    assert.ok(store.judge({ ...alice, name: `n${n}`, node: node(n), certificateDer }).accepted);
  }
  await store.flush();
  assert.equal(statSync(join(folder, 'pins.json')).mode & 0o777, 0o600);
  const again = await open(folder);
  assert.deepEqual(again.list(), store.list());
  assert.equal(
    again.judge({ ...alice, name: 'n1', node: node(99), certificateDer }).accepted,
    false,
  );
  await again.accept({ ...alice, name: 'n1', node: node(99) });
  assert.ok(
    (await open(folder)).judge({ ...alice, name: 'n1', node: node(99), certificateDer }).accepted,
  );
});

for (const [what, text, message] of [
  ['no JSON', '{"version":1,"pi', /is not JSON/],
  ['another version', '{"version":2,"pins":[]}', /damaged at version/],
  ['a broken pin', '{"version":1,"pins":[{"overlay":"lab"}]}', /damaged at pins\.0/],
  ['an unknown key', '{"version":1,"pins":[],"x":1}', /damaged at its top/],
] as const) {
  test(`a pins file with ${what} is refused and left alone`, async (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'pins.json');
    writeFileSync(path, text);
    await assert.rejects(open(folder), (error) => {
      assert.match(String(error), message);
      assert.equal(Reflect.get(Object(error), 'code'), 'identity.pins-unusable');
      return true;
    });
    assert.equal(readFileSync(path, 'utf8'), text);
  });
}
