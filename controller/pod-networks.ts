/**
 * The pods module as the CNI plugin and the operator see it. Owns the translation between the two;
 * decides nothing.
 */

import { formatRange } from '../base/cidr.ts';
import type { OverlayId } from '../base/ids.ts';
import type { PodNetworks } from '../cni-plugin/index.ts';
import type { PodsReply } from './local-api/index.ts';
import type { Pods, PodsSnapshot } from './pods/index.ts';

export const attachable = (pods: Pick<Pods, 'snapshot' | 'repair'>): PodNetworks => ({
  find(overlay) {
    const all = pods.snapshot();
    const [only] = all;
    if (only === undefined)
      return { notYet: 'no overlay of this node has a section in Cni.Overlays' };
    if (overlay === null && all.length > 1) {
      return {
        notYet: 'several overlays have pods: name one by the key "overlay" of the configuration',
      };
    }
    const found = overlay === null ? only : all.find((each) => each.overlay === overlay);
    if (found === undefined) return { notYet: `overlay ${overlay} has no section in Cni.Overlays` };
    const { problem, own, ...network } = found;
    return problem === null ? { ...network, ranges: own } : { notYet: problem };
  },
  repair: (overlay) => pods.repair(overlay),
});

export const podsReply = (
  snapshots: readonly PodsSnapshot[],
  attached: (overlay: OverlayId) => number,
): PodsReply => ({
  overlays: snapshots.map(({ own, ...rest }) => ({
    ...rest,
    ranges: own.map(({ range }) => formatRange(range)),
    attached: attached(rest.overlay),
  })),
});
