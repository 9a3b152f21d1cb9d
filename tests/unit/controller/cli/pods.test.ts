/** `evio cni status` as text. */
import assert from 'node:assert/strict';
import { formatPods } from '../../../../controller/cli/core/pods.ts';
import { PodsReply } from '../../../../controller/local-api/schema.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('cli pods');

const screen = { width: Number.POSITIVE_INFINITY, colours: false };
const files = {
  executable: { file: '/opt/cni/bin/evio-cni', state: 'ours' },
  list: { file: '/etc/cni/net.d/10-evio.conflist', state: 'absent' },
};
const reply = PodsReply.parse({
  overlays: [
    {
      overlay: 'farm',
      mode: 'routed',
      source: 'pool',
      ranges: ['10.42.7.0/24'],
      problem: null,
      bridge: 'evpd-farm',
      mtu: 1_420,
      isUp: true,
      attached: 3,
      members: [
        {
          nodeId: 'b'.repeat(32),
          name: 'barn',
          range: '10.42.8.0/24',
          via: '10.77.0.2',
          isLive: true,
        },
        { nodeId: 'c'.repeat(32), name: 'mill', range: '10.42.9.0/24', via: null, isLive: false },
      ],
      refused: [
        {
          nodeId: 'd'.repeat(32),
          name: 'x\u001b[2J',
          what: '0.0.0.0/0',
          reason: 'is a default route',
        },
      ],
    },
  ],
});

test('ranges, members and refusals are shown, and nobody steers the terminal', () => {
  assert.deepEqual(formatPods(screen, files, reply), [
    'executable     /opt/cni/bin/evio-cni: ours',
    'configuration  /etc/cni/net.d/10-evio.conflist: absent',
    '',
    'overlay farm  ready',
    '  mode routed, ranges 10.42.7.0/24 (pool), bridge evpd-farm, mtu 1420, 3 attached',
    '  NODE  PODS          VIA        STATE',
    '  barn  10.42.8.0/24  10.77.0.2  live',
    '  mill  10.42.9.0/24  -          silent',
    '  refused: x?[2J announces 0.0.0.0/0: is a default route',
  ]);
});

test('without a controller, and without a section Cni, that is said', () => {
  assert.equal(formatPods(screen, files, null).at(-1), 'controller     not running');
  assert.match(formatPods(screen, files, { overlays: [] }).at(-1) ?? '', /no section|no overlay/);
});
