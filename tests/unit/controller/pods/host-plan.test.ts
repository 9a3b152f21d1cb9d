/** Commands and rules for the host: only what differs, and nothing that is not ours. */
import assert from 'node:assert/strict';
import { parseAddress, parseRange, type Range } from '../../../../base/cidr.ts';
import { OverlayId } from '../../../../base/ids.ts';
import {
  masqueradeRules,
  planPodBridge,
  planRoutes,
} from '../../../../controller/pods/core/host-plan.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('pod host plan');

const farm = OverlayId.parse('farm');
function range(text: string): Range {
  const found = parseRange(text);
  assert.ok(found !== null, text);
  return found;
}
const wish = {
  overlay: farm,
  mac: '0a:59:00:00:00:01',
  mtu: 1_420,
  gateways: ['10.42.1.1/24', 'fd42::1/64'],
};
const seen = {
  name: 'evpd-farm',
  alias: 'evio:pods:farm',
  mtu: 1_420,
  isUp: true,
  addresses: ['10.42.1.1/24', 'fd42::1/64'],
};

test('a bridge that is right is left alone, one that is not is set right', () => {
  assert.deepEqual(planPodBridge(wish, seen), { commands: [] });
  const moved = planPodBridge(wish, {
    ...seen,
    mtu: 1_400,
    addresses: ['10.42.7.1/24', '169.254.20.10/32', 'fd42::1/64'],
  });
  assert.deepEqual(moved, {
    commands: [
      ['link', 'set', 'dev', 'evpd-farm', 'mtu', '1420'],
      ['address', 'add', '10.42.1.1/24', 'dev', 'evpd-farm'],
      ['address', 'delete', '10.42.7.1/24', 'dev', 'evpd-farm'],
    ],
  });
});

test("somebody else's device of that name is refused", () => {
  assert.ok('foreign' in planPodBridge(wish, { ...seen, alias: '' }));
});

test('routes: what is missing, what is wrong, what is gone; what a restart found stays for now', () => {
  const via = parseAddress('10.77.0.2');
  const device = 'evbr-farm';
  const wanted = [{ range: range('10.42.2.0/24'), via, device }];
  const right = { dst: '10.42.2.0/24', gateway: '10.77.0.2', device };
  assert.deepEqual(planRoutes(wanted, [right], new Set()), []);
  const add = 'route replace 10.42.2.0/24 via 10.77.0.2 dev evbr-farm proto 157 onlink';
  const plan = (routes: readonly (typeof right)[], spared: readonly string[]) =>
    planRoutes(wanted, routes, new Set(spared)).map((command) => command.join(' '));
  assert.deepEqual(plan([{ ...right, gateway: '10.77.0.9' }], []), [add]);
  const old = { ...right, dst: '10.42.9.0/24' };
  assert.deepEqual(plan([right, old], ['10.42.9.0/24']), []);
  assert.deepEqual(plan([right, old], []), ['route delete 10.42.9.0/24 dev evbr-farm proto 157']);
});

test('only what leaves the cluster is masqueraded, in each family that pods have', () => {
  const own = [range('10.42.1.0/24')];
  const rules = masqueradeRules(farm, own, [
    range('10.42.0.0/16'),
    range('10.77.0.0/24'),
    range('fd77::/64'),
  ]);
  assert.match(rules, /ip saddr @own4 ip daddr != @cluster4 counter masquerade/);
  assert.match(rules, /elements = \{ 10\.42\.1\.0\/24, 10\.42\.0\.0\/16, 10\.77\.0\.0\/24, 127/);
  assert.doesNotMatch(rules, /ip6/);
  assert.equal(
    masqueradeRules(farm, [], []),
    'add table inet evio_pods_farm\ndelete table inet evio_pods_farm\n',
  );
});
