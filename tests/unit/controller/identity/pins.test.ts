/** Trust on first use: the rule as a table, and its file. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NodeId, OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import { readNodeCertificate } from '../../../../base/node-certificate.ts';
import {
  type Claim,
  forgetPin,
  judgeClaim,
  maxPins,
  type Pin,
  replacePin,
} from '../../../../controller/identity/core/pins.ts';
import { PinStore } from '../../../../controller/identity/index.ts';
import { suite } from '../../../support/harness.ts';
import { load, startMs, temporaryFolder } from '../../../support/identities.ts';

const test = suite('pins');
const node = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const lab = OverlayId.parse('lab');
const firstSeen = '2026-01-01T00:00:00.000Z';
const alice: Claim = { overlay: lab, account: 'alice@lab.test', name: 'a', node: node(1) };
const pins: readonly Pin[] = [{ ...alice, firstSeen }];

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

const change = { overlay: alice.overlay, account: alice.account, name: 'a' };

test('a changed key is accepted only by naming the pinned one and the new one', () => {
  const done = replacePin(pins, { ...change, from: node(1), to: node(9) }, firstSeen);
  assert.deepEqual(done.kind === 'done' && done.pins.map((p) => [p.name, p.node]), [
    ['a', node(9)],
  ]);
  const both = [...pins, { ...alice, name: 'b', node: node(2), firstSeen }];
  for (const [wrong, why] of [
    [{ from: node(7), to: node(9) }, /is pinned to .*1, not to .*7/],
    [{ from: node(1), to: node(1) }, /both keys are/],
    [{ from: node(1), to: node(2) }, /is pinned to node "b" .*: forget that first/],
    [{ from: node(1), to: node(9), name: 'c' }, /no key is pinned for node "c"/],
    [{ from: node(1), to: node(9), account: 'x@y' }, /no key is pinned/],
  ] as const) {
    const refused = replacePin(both, { ...change, ...wrong }, firstSeen);
    assert.match(refused.kind === 'refused' ? refused.reason : refused.kind, why);
  }
});

test('a pin is forgotten only by naming its key', () => {
  const done = forgetPin(pins, { ...change, node: node(1) });
  assert.deepEqual(done.kind === 'done' && done.pins, []);
  assert.equal(forgetPin(pins, { ...change, node: node(2) }).kind, 'refused');
  assert.equal(forgetPin(pins, { ...change, name: 'z', node: node(1) }).kind, 'refused');
});

const open = (stateDirectory: string): Promise<PinStore> =>
  PinStore.open({ stateDirectory, log: silentLogger, wallNow: () => startMs });

test('pins survive a restart, in a file that only we can read', async (t) => {
  const folder = temporaryFolder(t);
  const { x509: certificate } = readNodeCertificate((await load(folder)).certificatePem);
  const claim = (name: string, n: number) => ({ ...alice, name, node: node(n), certificate });
  const store = await open(folder);
  for (let n = 1; n <= 20; n += 1) assert.ok(store.judge(claim(`n${n}`, n)).accepted);
  await store.flush();
  assert.equal(statSync(join(folder, 'pins.json')).mode & 0o777, 0o600);
  const again = await open(folder);
  assert.deepEqual(again.list(), store.list());
  const refused = again.judge(claim('n1', 99));
  assert.equal(refused.accepted ? null : refused.pinned, node(1));
  await assert.rejects(again.forget(claim('n1', 1)), /accepted with evio trust accept/);
  await again.accept({ ...change, name: 'n1', from: node(1), to: node(99) });
  const third = await open(folder);
  assert.ok(third.judge(claim('n1', 99)).accepted);
  assert.equal(third.holds(claim('n1', 1)).accepted, false);
  assert.ok(third.holds(claim('n1', 99)).accepted);
  await third.forget(claim('n1', 99));
  assert.equal(third.holds(claim('n1', 99)).accepted, false, 'forgotten, and not pinned by asking');
  assert.equal(third.list().length, 19);
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
